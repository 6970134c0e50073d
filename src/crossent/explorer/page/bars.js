// Figure 1 for any other number of classes: a bar per prediction, a tick per truth, and what a payment would change.

import { s } from "crossent/dom.js";
import { percent } from "crossent/format.js";
import { withProbability } from "crossent/grid.js";
import { add, scale } from "crossent/sums.js";

const TOP = 26;
const LABELS = 64;
const LEFT = 46;

export function bars(host, change) {
  const svg = s("svg", { class: "bars", role: "group", "aria-label": "A bar per class" });
  host.append(svg);
  let view = null;
  let focused = null;

  function draw() {
    const width = host.clientWidth || 520;
    const n = view.classes.length;
    const step = (width - LEFT - 4) / n;
    const height = 380;
    const floor = height - LABELS;
    const end = add(view.q, scale(view.segment.v, view.segment.length));
    // A prediction spread over many classes is drawn to its own scale; a truth beyond it is marked above.
    const top = Math.max(...view.q, ...end) > 0.4 ? 1 : 1.25 * Math.max(...view.q, ...end);
    const y = (value) => floor - ((floor - TOP) * Math.max(0, value)) / top;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const grid = [0, 0.5, 1].map((share) => s("g", { class: "scale" },
      s("path", { d: `M${LEFT} ${y(share * top)}H${width - 4}` }),
      s("text", { x: LEFT - 7, y: y(share * top) + 4, "text-anchor": "end" }, percent(share * top))));
    const parts = view.classes.map((name, c) => bar({ name, c, x: LEFT + c * step, step, y, floor, end, n, top }));
    svg.replaceChildren(...grid, ...parts);
    if (focused !== null) svg.querySelector(`[data-class="${focused}"]`)?.focus({ preventScroll: true });
  }

  function bar({ name, c, x, step, y, floor, end, n, top }) {
    const wide = Math.max(2, step * 0.62);
    const left = x + (step - wide) / 2;
    const [low, high] = [Math.min(view.q[c], end[c]), Math.max(view.q[c], end[c])];
    const truth = view.p[c] <= top ? y(view.p[c]) : TOP - 12;
    const labelled = n <= 10 || c === view.rise || view.p[c] > 0 || c === view.pay;
    const group = s("g", {
      class: `bar${c === view.rise ? " rises" : ""}${view.p[c] > 0 ? " true" : ""}`, "data-class": c, role: "slider", tabindex: c === view.rise ? 0 : -1,
      "aria-label": `Prediction of ${name}`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Number((100 * view.q[c]).toPrecision(6)), "aria-valuetext": `${percent(view.q[c])}, truth ${percent(view.p[c])}`,
    });
    group.append(
      s("rect", { class: "reach", x, y: TOP, width: step, height: floor - TOP }),
      s("rect", { class: "q", x: left, y: y(view.q[c]), width: wide, height: Math.max(0, floor - y(view.q[c])) }),
    );
    if (high > low) group.append(s("rect", { class: "paid", x: left, y: y(high), width: wide, height: Math.max(1.5, y(low) - y(high)) }));
    if (view.p[c] > 0) group.append(s("path", { class: "p", d: `M${left + wide / 2} ${truth - 6}l6 6l-6 6l-6-6Z` }));
    if (labelled) group.append(nameOf(name, left + wide / 2, floor + 17, n));
    wire(group, c, floor, y);
    return group;
  }

  function nameOf(name, x, y, n) {
    const text = name.length > 9 ? `${name.slice(0, 8)}…` : name;
    return n <= 10 ? s("text", { x, y, "text-anchor": "middle" }, text) : s("text", { transform: `translate(${x + 4} ${y - 6}) rotate(-90)`, "text-anchor": "end" }, text);
  }

  function set(c, value) {
    focused = c;
    change({ q: withProbability(view.q, c, value), rise: c, story: null });
    focused = null;
  }

  function wire(group, c, floor, y) {
    group.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      focused = c;
      change({ rise: c });
      focused = null;
      const box = svg.getBoundingClientRect();
      const perPixel = 1 / (y(0) - y(1));
      const drag = (next) => set(c, Math.round(1000 * (floor - (next.clientY - box.top)) * perPixel) / 1000);
      const stop = () => {
        removeEventListener("pointermove", drag);
        removeEventListener("pointerup", stop);
        removeEventListener("pointercancel", stop);
      };
      addEventListener("pointermove", drag);
      addEventListener("pointerup", stop);
      addEventListener("pointercancel", stop);
    });
    group.addEventListener("keydown", (event) => {
      const n = view.classes.length;
      const size = event.shiftKey ? 0.001 : 0.01;
      const moves = { ArrowUp: size, ArrowDown: -size };
      const to = { ArrowLeft: (c + n - 1) % n, ArrowRight: (c + 1) % n, Home: 0, End: n - 1 }[event.key];
      if (event.key in moves) set(c, Math.round(1e6 * (view.q[c] + moves[event.key])) / 1e6);
      else if (to !== undefined) {
        focused = to;
        change({ rise: to });
        focused = null;
      } else return;
      event.preventDefault();
    });
  }

  new ResizeObserver(() => view && draw()).observe(host);
  return {
    element: svg,
    update(next) {
      view = next;
      draw();
    },
  };
}
