// Figure 5: a confident prediction, exactly and as float32 returns it.

import { axes, polyline } from "crossent/chart.js";
import { h, s, say } from "crossent/dom.js";
import { number } from "crossent/format.js";
import { exact, textbook32, textbook64 } from "crossent/precision.js";

const MOST = 40;
const LEAST = -19;

export function margin(host, change) {
  const slider = h("input", { id: "margin", type: "range", min: 0, max: MOST, step: 0.5 });
  const shown = h("output", { for: "margin" });
  const chart = s("svg", { role: "img", "aria-label": "Loss against margin, exact and in float32", class: "small" });
  const body = h("tbody");
  const note = h("p", { class: "note" });
  host.append(
    h("div", { class: "row" }, h("label", { for: "margin" }, "margin"), slider, shown),
    h("table", { class: "plain" }, h("caption", { class: "sr" }, "Loss and logit derivative at this margin"),
      h("thead", {}, h("tr", {}, h("td"), ["loss", "derivative in its logit"].map((name) => h("th", { scope: "col" }, name)))), body),
    chart,
    note,
  );
  slider.addEventListener("input", () => change({ margin: Number(slider.value) }));
  let at = 0;

  function draw() {
    const width = Math.max(240, chart.parentElement.clientWidth);
    const height = 210;
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.setAttribute("width", width);
    chart.setAttribute("height", height);
    const { across, up, parts } = axes(width, height, {
      x: { from: 0, to: MOST, ticks: [0, 10, 20, 30, 40].map((x) => [x, String(x)]), title: "margin (nats)" },
      y: { from: LEAST, to: 0.8, ticks: [[0, "1"], [-6, "1e−6"], [-12, "1e−12"], [-18, "1e−18"]], title: "loss (nats)" },
    });
    const margins = Array.from({ length: 4 * MOST + 1 }, (_, i) => i / 4);
    const height10 = (loss) => (loss > 0 ? up(Math.log10(loss)) : up(LEAST));
    const line = (loss) => polyline(margins.map((m) => [across(m), height10(loss(m))]));
    const mark = (loss, name) => s("circle", { class: name, cx: across(at), cy: height10(loss), r: 4.5 });
    chart.replaceChildren(...parts,
      s("path", { class: "path exact", d: line((m) => exact(m).loss) }),
      s("path", { class: "path float32", d: line((m) => textbook32(m).loss) }),
      s("text", { class: "tick exact", x: across(29) + 6, y: up(-12.6) - 10 }, "exact"),
      s("text", { class: "tick float32", x: across(17.4), y: up(LEAST) - 7 }, "float32: 0"),
      mark(exact(at).loss, "mark exact"), mark(textbook32(at).loss, "mark float32"));
  }

  new ResizeObserver(draw).observe(host);
  return {
    update(view) {
      at = view.margin;
      slider.value = at;
      slider.setAttribute("aria-valuetext", `${number(at)} nats`);
      say(shown, `${number(at)} nats`);
      const rows = [["exact", exact(at)], ["float32 textbook", textbook32(at)], ["float64 textbook", textbook64(at)]];
      body.replaceChildren(...rows.map(([name, { loss, slope }]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, number(loss)), h("td", {}, number(slope)))));
      const lost = textbook32(at).loss === 0;
      say(note, lost
        ? "The textbook form z − max − log Σ exp(z − max) adds the small term to 1, where float32 loses it: loss 0, derivative 0, and training stops. crossent returns the exact value, rounded once."
        : "Two classes with logits (m, 0), the first is true. Move the margin on: from 17 nats float32 returns exactly 0.");
      draw();
    },
  };
}
