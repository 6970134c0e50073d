// Figure 2: which class rises and who pays, the derivative of that move, and the same measured.

import { ambientLoss, direction, grad } from "crossent/differential.js";
import { choices, h, say } from "crossent/dom.js";
import { nats, number } from "crossent/format.js";
import { derivativeFormula } from "crossent/formulas.js";
import { numbers, Refused, RULES, weights } from "crossent/state.js";
import { add, scale } from "crossent/sums.js";

const FEW = 6;
const STEP = 1e-5;

/** The move: its direction, and how far it is drawn, which leaves every payer something. */
export function segmentOf(d, rise, pay, by) {
  const v = direction(d, rise, pay);
  const room = Math.min(...v.map((x, c) => (x < 0 ? d.q[c] / -x : Infinity)));
  return { v, room, length: Math.min(by, 0.9 * room), slope: grad(d, pay)[rise] };
}

/** [H(q + hv) − H(q − hv)] / 2h, with h small beside every probability that the loss looks at; null where H is infinite. */
export function measured(d, v) {
  if (!Number.isFinite(d.loss)) return null;
  const scales = v.map((x, c) => (x !== 0 && d.p[c] > 0 ? d.q[c] / Math.abs(x) : 1));
  const step = STEP * Math.min(...scales);
  const [up, down] = [step, -step].map((t) => ambientLoss(add(d.q, scale(v, t)), d.p));
  return { step, slope: (up - down) / (2 * step) };
}

export function whoPays(host, change) {
  const rises = h("div", { class: "choices", role: "group", "aria-label": "The class that rises" });
  const payer = h("div", { class: "choices", role: "group", "aria-label": "Who pays" });
  const shares = h("input", { id: "shares", type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": "shares-problem" });
  const problem = h("p", { id: "shares-problem", class: "problem", role: "alert" });
  const custom = h("div", { class: "field", hidden: true }, h("label", { for: "shares" }, "shares, one per class"), shares, problem);
  const by = h("input", { id: "by", type: "range", min: 0.01, max: 1, step: 0.01 });
  const amount = h("output", { for: "by" });
  const result = h("dl", { class: "result", "aria-live": "polite" });
  const formula = h("p", { class: "formula" });
  host.append(
    h("div", { class: "row" }, h("span", { class: "lead-in" }, "Rises"), rises),
    h("div", { class: "row" }, h("span", { class: "lead-in" }, "Pays"), payer),
    custom,
    h("div", { class: "row" }, h("label", { class: "lead-in", for: "by" }, "Drawn"), by, amount),
    result,
    formula,
  );
  by.addEventListener("input", () => change({ by: Number(by.value) }));
  shares.addEventListener("change", () => {
    try {
      change({ pay: weights(numbers(shares.value, "Who pays", view.q.length)) });
      say(problem, "");
      shares.removeAttribute("aria-invalid");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      say(problem, error.message);
      shares.setAttribute("aria-invalid", "true");
    }
  });
  let view = null;

  function pick(value) {
    if (value !== "shares") change({ pay: RULES.includes(value) ? value : Number(value) });
    else if (!Array.isArray(view.pay)) {
      const others = view.q.length - 1;
      change({ pay: view.q.map((_, c) => (c === view.rise ? 0 : 1 / others)) });
    }
  }

  return {
    update(next) {
      view = next;
      const { classes, pay, rise, d, segment } = view;
      const names = classes.map((name, c) => [c, name]);
      pickFrom(rises, "The class that rises", names, rise, (c) => change({ rise: Number(c) }));
      pickFrom(payer, "Who pays", [...RULES.map((rule) => [rule, rule]), ...names, ["shares", "shares …"]], Array.isArray(pay) ? "shares" : pay, pick);
      custom.hidden = !Array.isArray(pay);
      if (Array.isArray(pay) && document.activeElement !== shares) shares.value = pay.map((x) => Number(x.toPrecision(6))).join(", ");
      by.value = view.by;
      say(amount, number(segment.length));
      by.setAttribute("aria-valuetext", `${number(segment.length)} of probability`);
      const found = measured(d, segment.v);
      const end = add(d.q, scale(segment.v, segment.length)).map((x) => (Math.abs(x) < 1e-15 ? 0 : x));
      const rows = [
        ["derivative", number(segment.slope, 7), "nats per unit"],
        ["measured", found ? number(found.slope, 7) : "—", found ? `over ±${number(found.step, 2)}` : "the loss is infinite here"],
        ["loss", `${nats(d.loss)} → ${nats(ambientLoss(end, d.p))}`, "along the segment"],
      ];
      result.replaceChildren(...rows.map(([name, value, unit]) => h("div", { class: name }, h("dt", {}, name), h("dd", {}, h("b", {}, value), " ", h("span", {}, unit)))));
      say(formula, `${derivativeFormula(view, pay, rise, segment.slope)}.${remark(view)}`);
    },
  };
}

function remark({ pay, rise, classes, segment }) {
  if (pay === "nobody") return " Nobody pays, so the probabilities no longer sum to 1: the point lifts off the triangle.";
  if (pay === rise) return ` ${classes[rise]} would pay for itself: nothing moves.`;
  if (segment.room <= 0) return " The payers have nothing to give here, so nothing can be drawn: the derivative is a limit.";
  return "";
}

/** Buttons for few options, a list to choose from for many. */
function pickFrom(host, label, options, current, choose) {
  if (options.length <= FEW + RULES.length + 1) {
    choices(host, options, current, choose);
    return;
  }
  const wanted = options.map(([, name]) => name).join("\u0001");
  if (host.dataset.options !== wanted) {
    host.dataset.options = wanted;
    const select = h("select", { "aria-label": label }, options.map(([value, name]) => h("option", { value }, name)));
    select.addEventListener("change", () => choose(select.value));
    host.replaceChildren(select);
  }
  host.firstChild.value = String(current);
}
