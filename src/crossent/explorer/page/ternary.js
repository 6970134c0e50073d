// Figure 1 for three classes: contours, the two points to drag, an arrow per metric, and the segment of who pays.

import { norm, velocity } from "crossent/descent.js";
import { calm, s } from "crossent/dom.js";
import { number, percent } from "crossent/format.js";
import { snap } from "crossent/grid.js";
import { Plane, contour, contours, CORNERS } from "crossent/plane.js";
import { add, scale, sum } from "crossent/sums.js";

const RADIUS = { euclidean: 0.17, natural: 0.36, logit: 0.62 };
const TILT_MS = 260;
const MARGIN = 46;

export function ternary(host, change) {
  const svg = s("svg", { class: "ternary", "aria-label": "The triangle of the three probabilities", role: "group" });
  const back = s("g");
  const front = s("g", { "pointer-events": "none" });
  const points = {
    p: handle("p", "Truth", s("path", { d: "M0-9L9 0L0 9L-9 0Z" })),
    q: handle("q", "Prediction", s("circle", { r: 8 })),
  };
  svg.append(back, front, points.p, points.q);
  host.append(svg);
  let view = null;
  let tilt = 0;
  let plane = null;
  let animation = 0;

  function handle(which, name, shape) {
    const target = s("circle", { r: 22, class: "reach" });
    const g = s("g", { class: `handle ${which}`, tabindex: 0, role: "slider", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100 }, target, shape, s("text", { x: 14, y: which === "p" ? 6 : -9 }, which));
    g.addEventListener("pointerdown", (event) => {
      g.setPointerCapture(event.pointerId);
      g.focus({ preventScroll: true });
      event.preventDefault();
    });
    g.addEventListener("pointermove", (event) => {
      if (!g.hasPointerCapture(event.pointerId)) return;
      const box = svg.getBoundingClientRect();
      move(which, snap(plane.from(event.clientX - box.left, event.clientY - box.top), event.shiftKey ? 1000 : 100));
    });
    g.addEventListener("keydown", (event) => {
      const moved = byKey(view[which], event);
      if (!moved) return;
      event.preventDefault();
      move(which, moved);
    });
    return g;
  }

  function move(which, point) {
    change({ [which]: point, story: null });
  }

  function tilted(goal) {
    cancelAnimationFrame(animation);
    if (tilt === goal) return;
    if (calm() || view === null) {
      tilt = goal;
      return;
    }
    const [from, began] = [tilt, performance.now()];
    const frame = (now) => {
      const t = Math.min(1, Math.max(0, (now - began) / TILT_MS));
      tilt = from + (goal - from) * (1 - (1 - t) ** 3);
      draw();
      if (t < 1) animation = requestAnimationFrame(frame);
    };
    animation = requestAnimationFrame(frame);
  }

  function draw() {
    const width = host.clientWidth || 520;
    const side = Math.min(width - 2 * MARGIN, 520);
    const height = side * 0.867 + 92;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    plane = new Plane(width / 2, 46 + side * 0.5774, side, tilt);
    back.replaceChildren(...ground(plane, view));
    front.replaceChildren(...balls(plane, view), ...arrows(plane, view), ...payment(plane, view));
    for (const which of ["p", "q"]) place(points[which], plane, view[which], view.classes);
  }

  new ResizeObserver(() => view && draw()).observe(host);
  return {
    element: svg,
    update(next) {
      const first = view === null;
      tilted(next.pay === "nobody" ? 1 : 0);
      view = next;
      if (first) tilt = next.pay === "nobody" ? 1 : 0;
      draw();
    },
  };
}

function byKey(point, event) {
  const size = event.shiftKey ? 0.001 : 0.01;
  const moves = { ArrowUp: [1, -0.5, -0.5], ArrowDown: [-1, 0.5, 0.5], ArrowLeft: [0, 1, -1], ArrowRight: [0, -1, 1] };
  if (event.key in moves) return snap(add(normal(point), scale(moves[event.key], size)), 10000);
  if (["1", "2", "3"].includes(event.key)) return CORNERS[Number(event.key) - 1];
  return event.key === "0" ? [1 / 3, 1 / 3, 1 / 3] : null;
}

const normal = (point) => point.map((x) => x / (sum(point) || 1));

function place(handle, plane, point, classes) {
  const at = normal(point);
  const [x, y] = plane.at(at);
  handle.setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)})`);
  handle.setAttribute("aria-valuenow", Math.round(100 * at[0]));
  handle.setAttribute("aria-valuetext", classes.map((name, c) => `${name} ${percent(point[c])}`).join(", "));
}

function ground(plane, { p, classes, d }) {
  const parts = [s("path", { class: "ground", d: `${plane.path(CORNERS)}Z` })];
  let labelled = [Infinity, Infinity];
  for (const { level, runs } of contours(p)) {
    parts.push(s("path", { class: "contour", d: runs.map((run) => plane.path(run)).join("") }));
    const last = rightmost(runs.flat(), plane);
    if (!last || Math.hypot(last[0] - labelled[0], last[1] - labelled[1]) < 24) continue;
    labelled = last;
    parts.push(s("text", { class: "level", x: last[0] + 5, y: last[1] + 4 }, number(level, 3)));
  }
  const through = sum(p) > 0 && Number.isFinite(d.loss) ? contour(p, d.loss) : [];
  parts.push(s("path", { class: "contour here", d: through.map((run) => plane.path(run)).join("") }));
  const anchors = [["middle", 0, -19], ["middle", 0, 27], ["middle", 0, 27]];
  CORNERS.forEach((corner, c) => {
    const [x, y] = plane.at(corner);
    const [anchor, dx, dy] = anchors[c];
    parts.push(s("text", { class: "corner", x: x + dx, y: y + dy, "text-anchor": anchor }, short(classes[c])));
  });
  return parts;
}

const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);

function rightmost(points, plane) {
  return points.map((v) => plane.at(v)).reduce((best, at) => (best === null || at[0] > best[0] ? at : best), null);
}

/** Where a motion is drawn to: the edge of its metric's unit ball, which steepest descent touches. */
export function reach(d, metric) {
  let v = velocity(d, metric);
  if (!v.every(Number.isFinite)) {
    const falls = v.map((x) => (x === Infinity ? 1 : 0));
    const share = sum(falls) / falls.filter((x) => x === 0).length;
    v = falls.map((x) => (x === 1 ? 1 : -share));
  }
  const size = norm(d, metric, v);
  if (!(size > 1e-12)) return null;
  // A ball that is flat in this direction has no edge to reach: the direction alone is drawn.
  const length = Number.isFinite(size) ? RADIUS[metric] / size : RADIUS.euclidean / norm(d, "euclidean", v);
  return scale(v, length);
}

function arrows(plane, { q, d, show }) {
  return ["euclidean", "natural", "logit"].filter((metric) => show.has(metric)).map((metric) => {
    const v = reach(d, metric);
    return v === null ? null : { size: Math.hypot(...v), drawn: arrow(plane.at(q), plane.at(add(q, v)), `arrow ${metric}`) };
  }).filter((one) => one?.drawn).sort((a, b) => b.size - a.size).map((one) => one.drawn);
}

export function arrow([x1, y1], [x2, y2], name) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 0.5) return null;
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  const size = Math.min(10, length * 0.6);
  const [bx, by] = [x2 - ux * size, y2 - uy * size];
  const head = `M${x2} ${y2}L${bx - uy * size * 0.42} ${by + ux * size * 0.42}L${bx + uy * size * 0.42} ${by - ux * size * 0.42}Z`;
  return s("g", { class: name }, s("path", { d: `M${x1} ${y1}L${bx} ${by}` }), s("path", { class: "head", d: head }));
}

function balls(plane, { q, d, show }) {
  if (!show.has("balls")) return [];
  return ["euclidean", "natural", "logit"].filter((metric) => show.has(metric)).map((metric) =>
    s("path", { class: `ball ${metric}`, d: `${plane.path(ball(d, metric).map((v) => add(q, v)))}Z` }),
  );
}

/** The motions of one length in a metric. */
export function ball(d, metric) {
  const turns = Array.from({ length: 72 }, (_, i) => (2 * Math.PI * i) / 72);
  const round = turns.map((t) => [2 * Math.sin(t), Math.sqrt(3) * Math.cos(t) - Math.sin(t), -Math.sqrt(3) * Math.cos(t) - Math.sin(t)].map((x) => x / Math.sqrt(6)));
  const q = d.q;
  if (metric === "euclidean") return round.map((u) => scale(u, RADIUS.euclidean));
  if (metric === "logit") {
    return round.map((u) => {
      const mean = sum(u.map((x, c) => x * q[c]));
      return u.map((x, c) => RADIUS.logit * q[c] * (x - mean));
    });
  }
  // v = √q ∘ u with u a unit vector at right angles to √q: then Σ v²/q = 1 and Σ v = 0, on the boundary too.
  const root = q.map(Math.sqrt);
  const one = unit(cross(root, Math.abs(root[0]) < 0.7 ? [1, 0, 0] : [0, 1, 0]));
  const two = cross(root, one);
  return turns.map((t) => root.map((x, c) => RADIUS.natural * x * (Math.cos(t) * one[c] + Math.sin(t) * two[c])));
}

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => scale(a, 1 / Math.hypot(...a));

function payment(plane, { q, segment, pay }) {
  const end = add(q, scale(segment.v, segment.length));
  const parts = [];
  if (pay === "nobody") {
    const foot = add(end, [-1, -1, -1].map((x) => (x * segment.length) / 3));
    parts.push(s("path", { class: "foot", d: plane.path([q, foot, end]) }));
    const [x, y] = plane.at(end);
    parts.push(s("text", { class: "off", x: x + 10, y: y - 4 }, `Σq = ${number(1 + segment.length)}`));
  }
  const drawn = arrow(plane.at(q), plane.at(end), "payment");
  return drawn ? [...parts, drawn] : parts;
}
