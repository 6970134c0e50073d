// A line chart with two labelled axes.

import { s } from "crossent/dom.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [44, 12, 12, 36];

/** Where values are drawn, and the axes' lines, ticks and titles. */
export function axes(width, height, { x, y }) {
  const across = (value) => LEFT + ((value - x.from) / (x.to - x.from)) * (width - LEFT - RIGHT);
  const up = (value) => height - BOTTOM - ((value - y.from) / (y.to - y.from)) * (height - BOTTOM - TOP);
  const parts = [
    ...y.ticks.map(([value, text]) => s("g", { class: "scale" },
      s("path", { d: `M${LEFT} ${up(value)}H${width - RIGHT}` }),
      s("text", { x: LEFT - 7, y: up(value) + 4, "text-anchor": "end" }, text))),
    ...x.ticks.map(([value, text]) => s("text", { class: "tick", x: across(value), y: height - BOTTOM + 17, "text-anchor": "middle" }, text)),
    s("text", { class: "title", x: width - RIGHT, y: height - 3, "text-anchor": "end" }, x.title),
    s("text", { class: "title", x: LEFT + 4, y: TOP + 4 }, y.title),
  ];
  return { across, up, parts };
}

export const polyline = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Round numbers in a range, about four of them. */
export function ticks(bottom, top) {
  const raw = (top - bottom) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
  const first = Math.ceil(bottom / size - 1e-9);
  return Array.from({ length: Math.floor(top / size + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * size).toPrecision(6)));
}
