// Figure 3: every form of the derivative, by how much each differs from the first, and the certificate that it is the same.

import { certificate, grad, multiple } from "crossent/differential.js";
import { METRICS, velocity } from "crossent/descent.js";
import { h, say } from "crossent/dom.js";
import { number, probability } from "crossent/format.js";
import { derivativeFormula, gradientFormula, motionFormula, multipleFormula } from "crossent/formulas.js";

const MOST_COLUMNS = 6;
const SOME_COLUMNS = 4;

/** The classes that have a column: all of a few, else those of the payment, those with truth, the story's, the likeliest. */
export function columnsOf({ q, p, rise, pay, shown }) {
  const all = q.map((_, c) => c);
  if (q.length <= MOST_COLUMNS) return all;
  const key = (c) => [c === rise || c === pay ? 0 : 1, p[c] > 0 ? 0 : 1, shown.includes(c) ? 0 : 1, -q[c], c];
  const before = (a, b) => a.reduce((found, x, i) => found || x - b[i], 0);
  return all.sort((a, b) => before(key(a), key(b))).slice(0, SOME_COLUMNS).sort((a, b) => a - b);
}

/** The rows of the table in groups, each number with its formula. */
export function groupsOf(view) {
  const { d, classes, pay, p } = view;
  const ambient = d.ambient;
  const payers = [p.indexOf(Math.max(...p)), ...(typeof pay === "number" ? [pay] : [])];
  const rules = ["nobody", "everyone", "in proportion", ...new Set(payers), ...(Array.isArray(pay) ? [pay] : [])];
  return [
    { title: null, rows: [
      { name: "truth p", values: d.p, text: (c) => number(d.p[c]), formula: (c) => `The truth gives ${classes[c]} ${number(d.p[c])}` },
      { name: "prediction q", values: d.q, text: (c) => probability(d, c), formula: (c) => `The prediction gives ${classes[c]} ${probability(d, c)}` },
    ] },
    { title: "Derivative of the loss as the class rises, by who pays", unit: "nats per unit of probability", rows: rules.map((rule) => {
      const values = grad(d, rule);
      const λ = multiple(d, rule);
      return {
        name: payerName(rule, classes), values, λ, chosen: sameRule(rule, pay), rule,
        text: (c) => number(values[c]),
        formula: (c) => derivativeFormula(view, rule, c, values[c]),
        λFormula: multipleFormula(rule, λ, classes),
        certificate: certificate(values, ambient),
      };
    }) },
    { title: "P·q − p, the same numbers as two kinds of object", unit: "", rows: [
      { name: "logit gradient", kind: "covector in logits", values: d.logits, text: (c) => number(d.logits[c]), formula: (c) => `${gradientFormula(view, c)}, per unit of its logit` },
      { name: "natural gradient", kind: "vector on the simplex", values: d.logits, text: (c) => number(d.logits[c]), formula: (c) => `${gradientFormula(view, c)}, a direction in which q can move` },
    ] },
    { title: "Steepest descent moves q by", unit: "vectors; the arrows", rows: METRICS.map((metric) => {
      const values = velocity(d, metric);
      return { name: metric === "euclidean" ? "Euclidean" : metric, values, metric, text: (c) => number(values[c]), formula: (c) => motionFormula(view, metric, c, values[c]) };
    }) },
  ];
}

export function payerName(rule, classes) {
  if (Array.isArray(rule)) return "the shares pay";
  if (typeof rule === "number") return `${classes[rule]} pays`;
  return { nobody: "nobody pays", everyone: "everyone pays", "in proportion": "in proportion" }[rule];
}

const sameRule = (a, b) => (Array.isArray(a) ? Array.isArray(b) : a === b);

export function table(host) {
  const body = h("table", {}, h("caption", { class: "sr" }, "The derivative in every form"));
  const scroll = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of the derivative" }, body);
  const formula = h("output", { class: "formula", id: "formula" });
  const hint = "Point at a number, or walk the table with the arrow keys, to see how it is made.";
  const verdict = h("p", { class: "certificate" });
  host.append(scroll, formula, verdict);
  let formulas = [];
  let at = [0, 0];

  function show(row, column) {
    say(formula, formulas[row]?.[column] ?? hint);
  }
  const cellOf = (event) => event.target.closest("[data-at]")?.dataset.at.split(",").map(Number);
  body.addEventListener("pointerover", (event) => cellOf(event) && show(...cellOf(event)));
  body.addEventListener("pointerleave", () => body.contains(document.activeElement) || say(formula, hint));
  body.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    at = cell;
    rove();
    show(...cell);
  });
  body.addEventListener("focusout", () => say(formula, hint));
  body.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    const to = body.querySelector(`[data-at="${at[0] + move[0]},${at[1] + move[1]}"]`);
    event.preventDefault();
    to?.focus();
  });

  function rove() {
    for (const cell of body.querySelectorAll("[data-at]")) cell.tabIndex = cell.dataset.at === at.join() ? 0 : -1;
  }

  return {
    update(view) {
      const columns = columnsOf(view);
      const groups = groupsOf(view);
      const held = body.contains(document.activeElement) ? at : null;
      formulas = [];
      const left = view.q.length - columns.length;
      body.classList.toggle("many", view.q.length > 4);
      const head = h("thead", {}, h("tr", {},
        h("td", {}), columns.map((c) => h("th", { scope: "col", class: c === view.rise ? "rises" : null, title: view.classes[c] }, view.classes[c])),
        h("th", { scope: "col", class: "lambda", title: "The multiple of (1, …, 1) by which the row differs from “nobody pays”" }, "λ"),
        h("th", { scope: "col", class: "same", title: "Whether the row is the same derivative along the simplex" }, "same")));
      const bodies = groups.map((group) => h("tbody", {}, group.title ? heading(group, columns.length + 3) : null, group.rows.map((row) => line(row, columns))));
      body.replaceChildren(body.firstChild, head, ...bodies);
      if (!body.querySelector(`[data-at="${at.join()}"]`)) at = [0, 0];
      rove();
      if (held) body.querySelector(`[data-at="${at.join()}"]`)?.focus({ preventScroll: true });
      else if (!formula.textContent) say(formula, hint);
      const certificates = groups[1].rows.map((row) => row.certificate);
      const worst = Math.max(...certificates.map((one) => one.deviation));
      const rest = left > 0 ? ` ${left} more classes have no column; raise one and it gets one.` : "";
      say(verdict, (certificates.every((one) => one.same)
        ? `One derivative: each row is “nobody pays” plus λ·(1, …, 1), and a move that keeps the sum at 1 cannot see a constant. Largest deviation ${number(worst, 2)}.`
        : "The rows are not the same derivative.") + rest);
    },
  };

  function line(row, columns) {
    const r = formulas.push(columns.map(row.formula)) - 1;
    const cells = columns.map((c, i) => cell(r, i, row.text(c), row.values[c] === 0));
    if (row.certificate) {
      formulas[r].push(row.λFormula, `${row.certificate.same ? "The same derivative" : "Another derivative"}: the differences from “nobody pays” deviate from one number by ${number(row.certificate.deviation, 2)}`);
      cells.push(cell(r, columns.length, number(row.λ), row.λ === 0, "lambda"), cell(r, columns.length + 1, row.certificate.same ? "✓" : "✗", false, "same"));
    } else cells.push(h("td", { class: "lambda" }), h("td", { class: "same" }));
    const name = [row.name, row.kind ? h("small", {}, row.kind) : null];
    return h("tr", { class: [row.chosen ? "chosen" : "", row.metric ?? ""].join(" ").trim() || null }, h("th", { scope: "row" }, name), cells);
  }

  function cell(r, i, text, zero, name = "") {
    return h("td", { class: `${name}${zero ? " zero" : ""}`.trim() || null }, h("span", { "data-at": `${r},${i}`, tabindex: -1, role: "button", "aria-describedby": "formula" }, text));
  }
}

function heading({ title, unit }, span) {
  return h("tr", { class: "heading" }, h("th", { colspan: span, scope: "colgroup" }, title, unit ? h("small", {}, unit) : null));
}
