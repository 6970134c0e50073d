// Figure 4: gradient descent from here, in four metrics or in the charts of the classes.

import { flow } from "crossent/descent.js";
import { axes, polyline, ticks } from "crossent/chart.js";
import { choices, h, s, say } from "crossent/dom.js";
import { nats, number } from "crossent/format.js";
import { Plane, contours, CORNERS } from "crossent/plane.js";
import { sum } from "crossent/sums.js";

export const STEPS = 40;
const METRICS = [["euclidean", "Euclidean, projected"], ["natural", "natural"], ["logit", "logit"], ["exponentiated", "exponentiated"]];
const CHARTS = 3;

/** The descents drawn: name, class of the line, points and losses. */
export function pathsOf({ d, paths, step, classes }) {
  const asked = paths === "metrics" ? METRICS.map(([metric, name]) => [metric, name, metric]) : classes.slice(0, CHARTS).map((name, r) => [r, `${name} pays (chart ${r})`, `chart${r}`]);
  return asked.map(([metric, name, style]) => ({ name, style, ...flow(d, metric, STEPS, step) }));
}

export function paths(host, change) {
  const which = h("div", { class: "choices", role: "group", "aria-label": "Which descents" });
  const size = h("input", { id: "step", type: "range", min: -3, max: 0.4, step: 0.02 });
  const shown = h("output", { for: "step" });
  const triangle = s("svg", { role: "img", "aria-label": "The paths on the triangle", class: "small" });
  const chart = s("svg", { role: "img", "aria-label": "Loss against step", class: "small" });
  const legend = h("ul", { class: "legend" });
  const note = h("p", { class: "note" });
  host.append(h("div", { class: "row" }, which), h("div", { class: "row" }, h("label", { for: "step" }, "step size"), size, shown), h("div", { class: "twin" }, triangle, chart), legend, note);
  size.addEventListener("input", () => change({ step: Number((10 ** Number(size.value)).toPrecision(2)) }));
  let view = null;

  function draw() {
    const found = pathsOf(view);
    const width = Math.max(200, chart.parentElement.clientWidth);
    const half = view.q.length === 3 && width > 420 ? (width - 20) / 2 : width;
    triangle.toggleAttribute("hidden", view.q.length !== 3);
    triangle.style.display = view.q.length === 3 ? "" : "none";
    if (view.q.length === 3) drawTriangle(triangle, view, found, half);
    drawLosses(chart, view, found, half);
    legend.replaceChildren(...found.map((one) => h("li", { class: one.style }, s("svg", { width: 22, height: 8, "aria-hidden": "true" }, s("path", { class: `path ${one.style}`, d: "M1 4H21" })), h("span", {}, one.name), h("b", {}, nats(one.losses.at(-1))))));
  }

  new ResizeObserver(() => view && draw()).observe(host);
  return {
    update(next) {
      view = next;
      choices(which, [["metrics", "four metrics"], ["charts", "a class pays: charts"]], view.paths, (value) => change({ paths: value }));
      size.value = Math.log10(view.step);
      size.setAttribute("aria-valuetext", number(view.step));
      say(shown, number(view.step));
      draw();
      say(note, view.paths === "metrics"
        ? "One derivative, four metrics, four ways down. The natural path is a straight line to the truth. Beside each name stands the loss after 40 steps."
        : "Here the rule does matter: a step taken in the free probabilities of a chart has chosen that chart's metric, and each chart takes another way.");
    },
  };
}

function drawTriangle(svg, { p, classes }, found, width) {
  const side = Math.min(width - 60, 300);
  const height = side * 0.867 + 56;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const plane = new Plane(width / 2, 28 + side * 0.5774, side);
  const dots = (one) => one.probs.map((q) => plane.at(q)).map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  const [px, py] = plane.at(p.map((x) => x / (sum(p) || 1)));
  svg.replaceChildren(
    s("path", { class: "ground", d: `${plane.path(CORNERS)}Z` }),
    ...contours(p).map(({ runs }) => s("path", { class: "contour", d: runs.map((run) => plane.path(run)).join("") })),
    ...CORNERS.map((corner, c) => s("text", { class: "tick", x: plane.at(corner)[0], y: plane.at(corner)[1] + (c === 0 ? -9 : 18), "text-anchor": "middle" }, classes[c].slice(0, 10))),
    s("path", { class: "truth", d: `M${px} ${py - 7}l7 7l-7 7l-7-7Z` }),
    ...found.flatMap((one) => [s("path", { class: `path ${one.style}`, d: plane.path(one.probs) }), s("path", { class: `dots ${one.style}`, d: dots(one) })]),
    s("circle", { class: "start", cx: plane.at(found[0].probs[0])[0], cy: plane.at(found[0].probs[0])[1], r: 5 }),
  );
}

function drawLosses(svg, { d }, found, width) {
  const height = 260;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const all = found.flatMap((one) => one.losses).filter(Number.isFinite);
  const start = Number.isFinite(d.loss) ? d.loss : 4;
  const top = Math.min(Math.max(...all, start, 1e-3), 4 * start + 1e-3) * 1.06 || 1;
  const least = d.p.reduce((total, x) => (x > 0 ? total - x * Math.log(x / d.mass) : total), 0);
  const bottom = least > 0.3 * top && top > least ? least - 0.08 * (top - least) : 0;
  const { across, up, parts } = axes(width, height, {
    x: { from: 0, to: STEPS, ticks: [0, 10, 20, 30, 40].map((x) => [x, String(x)]), title: "step" },
    y: { from: bottom, to: top, ticks: ticks(bottom, top).map((x) => [x, number(x, 3)]), title: "loss (nats)" },
  });
  const lines = found.map((one) => {
    const points = one.losses.map((loss, i) => [across(i), up(Math.min(loss, top * 1.05))]);
    return s("path", { class: `path ${one.style}`, d: polyline(points) });
  });
  const floor = least > bottom ? [s("path", { class: "least", d: `M${across(0)} ${up(least)}H${across(STEPS)}` }), s("text", { class: "tick", x: across(STEPS), y: up(least) - 5, "text-anchor": "end" }, "the least there is")] : [];
  svg.replaceChildren(...parts, ...floor, ...lines);
}
