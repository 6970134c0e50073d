// The triangle of three probabilities on paper: where a point is drawn, and the contours of the loss.

import { add, scale, sum } from "crossent/sums.js";

const HEIGHT = Math.sqrt(3) / 2;
const EXCESSES = [0.05, 0.1, 0.2, 0.5, 1, 2, 4];
const RAYS = 180;

/** Seen from straight above (tilt 0) or leaning back (tilt 1), so that a point off the triangle can be seen to be off it. */
export class Plane {
  constructor(x, y, side, tilt = 0) {
    const elevation = Math.PI / 2 - tilt * 0.88;
    Object.assign(this, { x, y, side, sine: Math.sin(elevation), cosine: Math.cos(elevation) });
  }

  /** Where a vector of three numbers of any sum is drawn. */
  at(v) {
    const off = sum(v) - 1;
    const across = (v[2] - v[1]) / 2;
    const up = HEIGHT * (v[0] - off / 3) - HEIGHT / 3;
    return [this.x + this.side * across, this.y - this.side * (up * this.sine + (off / Math.sqrt(6)) * this.cosine)];
  }

  /** The vector with sum 1 that is drawn at a place. */
  from(x, y) {
    const first = ((this.y - y) / (this.side * this.sine) + HEIGHT / 3) / HEIGHT;
    const across = (x - this.x) / this.side;
    return [first, (1 - first) / 2 - across, (1 - first) / 2 + across];
  }

  path(points) {
    return points.map((v, i) => `${i === 0 ? "M" : "L"}${this.at(v).map((x) => x.toFixed(2)).join(" ")}`).join("");
  }
}

export const CORNERS = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

const RAY = Array.from({ length: RAYS }, (_, i) => {
  const angle = (2 * Math.PI * i) / RAYS;
  const [a, b] = [Math.cos(angle) / Math.SQRT2, Math.sin(angle) / Math.sqrt(6)];
  return [2 * b, a - b, -a - b].map((x) => (Math.abs(x) < 1e-12 ? 0 : x)); // along an edge exactly
});

/** The points of one level of the loss, as runs of neighbours: the loss rises along every ray from the truth. */
export function contour(p, level) {
  const mass = sum(p);
  const best = p.map((x) => x / mass);
  const runs = [[]];
  for (let i = 0; i <= RAYS; i += 1) {
    const ray = RAY[i % RAYS];
    const length = Math.min(...ray.map((v, c) => (v < 0 ? best[c] / -v : Infinity)));
    if (length > 0 && lossAt(best, ray, length, p) >= level) runs.at(-1).push(crossing(best, ray, length, p, level));
    else if (runs.at(-1).length) runs.push([]);
  }
  return runs.filter((run) => run.length > 1);
}

/** To the accuracy of a drawing, and quickly: a picture asks for it a hundred thousand times. */
function lossAt(best, ray, t, p) {
  let total = 0;
  for (let c = 0; c < 3; c += 1) {
    const q = best[c] + t * ray[c];
    if (p[c] > 0) total -= p[c] * Math.log(q < 1e-15 ? 0 : q);
  }
  return total;
}

function crossing(best, ray, length, p, level) {
  let [low, high] = [0, length];
  for (let i = 0; i < 24; i += 1) {
    const middle = (low + high) / 2;
    if (lossAt(best, ray, middle, p) < level) low = middle;
    else high = middle;
  }
  return add(best, scale(ray, high));
}

let drawn = { truth: "", found: [] };

/** The contours to draw: levels above the least loss. They are the same while only the prediction moves. */
export function contours(p) {
  if (drawn.truth !== p.join()) drawn = { truth: p.join(), found: allContours(p) };
  return drawn.found;
}

function allContours(p) {
  if (sum(p) === 0) return [];
  const least = lossAt(p.map((x) => x / sum(p)), [0, 0, 0], 0, p);
  return EXCESSES.map((excess) => ({ level: least + excess, runs: contour(p, least + excess) }));
}
