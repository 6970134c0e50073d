// What the page shows: one view, written to the address and read from it, every number checked.

import { sum } from "crossent/sums.js";

export const MOST_CLASSES = 100;
export const RULES = ["nobody", "everyone", "in proportion"];
const SHOWN = ["euclidean", "natural", "logit", "balls"];
const KEYS = ["story", "prediction", "classes", "q", "p", "raise", "pay", "by", "show", "paths", "step", "margin"];
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

export class Refused extends Error {}

/** The numbers of a list, or of fractions such as 1/3. */
export function numbers(text, what, count = null) {
  const fields = text.split(",").map((field) => field.trim());
  return numbersOf(fields, what, count);
}

function numbersOf(fields, what, count) {
  if (fields.length > MOST_CLASSES) {
    throw new Refused(`${what} has ${fields.length} numbers: this page draws at most ${MOST_CLASSES} classes; “crossent explain” takes any number.`);
  }
  if (count !== null && fields.length !== count) throw new Refused(`${what} has ${fields.length} numbers: expected ${count}, one per class.`);
  return fields.map((field) => {
    const parts = field.split("/").map((part) => part.trim());
    if (parts.length > 2 || !parts.every((part) => NUMBER.test(part))) {
      throw new Refused(`${what} holds “${field.slice(0, 40)}”: expected numbers such as 0.5 or 1/3, separated by commas.`);
    }
    const value = Number(parts[0]) / (parts.length === 2 ? Number(parts[1]) : 1);
    if (!Number.isFinite(value)) throw new Refused(`${what} holds “${field.slice(0, 40)}”: expected a finite number.`);
    return value;
  });
}

export function checkPrediction(q, classes) {
  q.forEach((x, c) => {
    if (x < 0) throw new Refused(`The prediction of ${classes[c]} is ${x}: a probability is not negative.`);
  });
  const total = sum(q);
  if (Math.abs(total - 1) > 1e-6) throw new Refused(`The prediction sums to ${Number(total.toPrecision(10))}: expected 1, within 1e-6.`);
  return q;
}

export function checkTruth(p, classes) {
  p.forEach((x, c) => {
    if (x < 0) throw new Refused(`The truth of ${classes[c]} is ${x}: a mass is not negative.`);
  });
  if (!Number.isFinite(sum(p))) throw new Refused("The truth sums to more than a number can hold.");
  return p;
}

export function checkClasses(names) {
  if (names.length < 2) throw new Refused("There is one class: expected at least 2.");
  if (names.length > MOST_CLASSES) {
    throw new Refused(`There are ${names.length} classes: this page draws at most ${MOST_CLASSES}; “crossent explain” takes any number.`);
  }
  names.forEach((name, c) => {
    if (name.trim() === "") throw new Refused(`Class ${c + 1} has no name.`);
    if (RULES.includes(name)) throw new Refused(`A class is called “${name}”: that is the name of a rule of payment.`);
    if (names.indexOf(name) !== c) throw new Refused(`Two classes are called “${name}”.`);
  });
  return names;
}

export const label = (classes, c) => classes.map((_, i) => (i === c ? 1 : 0));

/** A truth as typed: the name of a class, or a mass per class. */
export function truth(text, classes) {
  const c = classes.indexOf(text.trim());
  return c >= 0 ? label(classes, c) : checkTruth(numbersOf(text.split(",").map((x) => x.trim()), "The truth", classes.length), classes);
}

export function weights(values) {
  const total = sum(values);
  if (Math.abs(total - 1) > 1e-9) throw new Refused(`The payers' shares sum to ${Number(total.toPrecision(10))}: what one class gains, the payers give up, so expected 1.`);
  return values;
}

/** The view that a prediction begins with: the likeliest wrong class rises, and the class with the most truth pays. */
export function begin(classes, q, p) {
  const y = p.indexOf(Math.max(...p));
  const rises = q.map((x, c) => (c === y ? -1 : x));
  return { classes, q, p, rise: rises.indexOf(Math.max(...rises)), pay: y };
}

export const settings = () => ({ by: 0.2, show: new Set(["euclidean", "natural", "logit"]), paths: "metrics", step: 0.1, margin: 20 });

export function storyView(story, index) {
  const { classes, prediction, truth: p } = story.predictions[index];
  const view = { ...begin(classes, prediction, p), story: story.name, prediction: index };
  const wrong = story.shown.map((name) => classes.indexOf(name)).filter((c) => p[c] === 0);
  // The last figure follows the story that it is about.
  if (story.name === "margin") view.margin = Math.round(Math.log(prediction[0] / prediction[1]));
  return wrong.length ? { ...view, rise: wrong.at(-1) } : view;
}

/** Read the part of the address after “#”. */
export function parse(hash, stories, start) {
  const given = {};
  for (const field of hash.replace(/^#/, "").split("&").filter(Boolean)) {
    const at = field.indexOf("=");
    const name = at < 0 ? field : field.slice(0, at);
    if (!KEYS.includes(name)) throw new Refused(`The address has “${name.slice(0, 40)}”: expected ${KEYS.join(", ")}.`);
    if (name in given) throw new Refused(`The address gives “${name}” twice.`);
    given[name] = field.slice(at + 1).split(",").map(decoded);
  }
  const view = { ...settings(), ...predictionOf(given, stories, start) };
  const { classes } = view;
  const classOf = (name, what) => {
    const c = classes.indexOf(name);
    if (c < 0) throw new Refused(`${what} is “${name.slice(0, 40)}”: expected ${listed(classes)}.`);
    return c;
  };
  if (given.raise) view.rise = classOf(given.raise.join(","), "The class that rises");
  if (given.pay) view.pay = payOf(given.pay, classes, classOf);
  if (given.by) view.by = within(given.by, "by", 0.01, 1);
  if (given.step) view.step = within(given.step, "step", 1e-3, 10);
  if (given.margin) view.margin = within(given.margin, "margin", 0, 40);
  if (given.paths) view.paths = oneOf(given.paths, "paths", ["metrics", "charts"]);
  if (given.show) view.show = new Set(given.show.filter(Boolean).map((one) => oneOf([one], "show", SHOWN)));
  return view;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refused(`The address holds “${text.slice(0, 40)}”, which is no text.`);
  }
}

function predictionOf(given, stories, start) {
  if (given.q) {
    const q = numbersOf(given.q, "The prediction", null);
    const classes = checkClasses(given.classes ?? (q.length === 3 ? ["dog", "cat", "bird"] : q.map((_, c) => String(c))));
    if (classes.length !== q.length) throw new Refused(`The prediction has ${q.length} numbers: expected ${classes.length}, one per class.`);
    checkPrediction(q, classes);
    if (!given.p) throw new Refused("The address has a prediction q and no truth p.");
    const c = given.p.length === 1 ? classes.indexOf(given.p[0]) : -1;
    const p = c >= 0 ? label(classes, c) : checkTruth(numbersOf(given.p, "The truth", classes.length), classes);
    return { ...begin(classes, q, p), story: null, prediction: 0 };
  }
  if (given.p || given.classes) throw new Refused("The address has no prediction q.");
  const name = given.story ? oneOf(given.story, "story", stories.map((one) => one.name)) : start;
  const story = stories.find((one) => one.name === name);
  const index = given.prediction ? within(given.prediction, "prediction", 1, story.predictions.length) : 1;
  return storyView(story, Math.round(index) - 1);
}

function payOf(fields, classes, classOf) {
  if (fields.length > 1) return weights(numbersOf(fields, "Who pays", classes.length));
  return RULES.includes(fields[0]) ? fields[0] : classOf(fields[0], "Who pays");
}

function oneOf(fields, what, options) {
  const value = fields.join(",");
  if (!options.includes(value)) throw new Refused(`“${what}” is “${value.slice(0, 40)}”: expected ${listed(options)}.`);
  return value;
}

function within(fields, what, low, high) {
  const [value] = numbersOf(fields, `“${what}”`, 1);
  if (value < low || value > high) throw new Refused(`“${what}” is ${value}: expected a number from ${low} to ${high}.`);
  return value;
}

const listed = (names) => (names.length > 8 ? `${names.slice(0, 8).join(", ")}, … (${names.length})` : names.join(", "));

/** Write a view so that `parse` reads it back. */
export function address(view, stories) {
  const story = stories.find((one) => one.name === view.story);
  const fields = [];
  const write = (name, ...values) => fields.push(`${name}=${values.map((x) => encodeURIComponent(x)).join(",")}`);
  const fresh = story ? storyView(story, view.prediction) : begin(view.classes, view.q, view.p);
  if (story) {
    write("story", story.name);
    if (view.prediction > 0) write("prediction", view.prediction + 1);
  } else {
    write("q", ...view.q);
    const c = view.p.indexOf(1);
    if (c >= 0 && view.p.every((x, i) => i === c || x === 0)) write("p", view.classes[c]);
    else write("p", ...view.p);
    write("classes", ...view.classes);
  }
  if (view.rise !== fresh.rise) write("raise", view.classes[view.rise]);
  if (view.pay !== fresh.pay) write("pay", ...(Array.isArray(view.pay) ? view.pay : [typeof view.pay === "number" ? view.classes[view.pay] : view.pay]));
  const usual = settings();
  for (const name of ["by", "paths", "step", "margin"]) if (view[name] !== usual[name]) write(name, view[name]);
  if ([...view.show].sort().join() !== [...usual.show].sort().join()) write("show", ...SHOWN.filter((one) => view.show.has(one)));
  return `#${fields.join("&")}`;
}
