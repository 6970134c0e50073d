// The page put together: one view, and every figure drawn from it.

import { bars } from "crossent/bars.js";
import { differential } from "crossent/differential.js";
import { h, say } from "crossent/dom.js";
import { nats } from "crossent/format.js";
import { margin } from "crossent/margin.js";
import { paths } from "crossent/paths.js";
import { python } from "crossent/python.js";
import { quiz } from "crossent/quiz.js";
import { address, begin, checkClasses, checkPrediction, numbers, parse, Refused, truth } from "crossent/state.js";
import { stories } from "crossent/stories.js";
import { table } from "crossent/table.js";
import { ternary } from "crossent/ternary.js";
import { verdict } from "crossent/verdict.js";
import { segmentOf, whoPays } from "crossent/whopays.js";

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const fields = { classes: at("classes"), q: at("q"), p: at("p") };
let view = null;
let later = 0;

const triangle = ternary(at("plot"), change);
const columns = bars(at("plot"), change);
const figures = [
  stories(at("stories"), at("story"), data.stories, change),
  whoPays(at("who-pays"), change),
  table(at("table"), change),
  paths(at("paths"), change),
  margin(at("margins"), change),
  quiz(at("quiz"), data.stories, data.start, change),
];
const checked = data.served ? python(at("python")) : null;
verdict(at("verdict"), data.stories, change);

function derived(next) {
  const d = differential(next.q, next.p);
  const story = data.stories.find((one) => one.name === next.story);
  const shown = (story?.shown ?? []).map((name) => next.classes.indexOf(name));
  return { ...next, d, shown, segment: segmentOf(d, next.rise, next.pay, next.by) };
}

function change(patch) {
  const next = { ...view, ...patch };
  // Shares belong to as many classes as they were given for.
  if (Array.isArray(next.pay) && next.pay.length !== next.q.length) next.pay = begin(next.classes, next.q, next.p).pay;
  view = derived(next);
  draw();
  clearTimeout(later);
  later = setTimeout(settle, 150);
}

function draw() {
  const flat = view.q.length === 3;
  triangle.element.style.display = flat ? "" : "none";
  columns.element.style.display = flat ? "none" : "";
  (flat ? triangle : columns).update(view);
  for (const figure of figures) figure.update(view);
  at("arrows").hidden = !flat;
  at("plot-keys").textContent = flat
    ? "Drag q and p. Or focus one: arrows move it by 0.01, with Shift by 0.001; 1, 2, 3 go to a corner, 0 to the centre."
    : "Drag a bar. Or focus one: ↑ ↓ change it by 0.01, with Shift by 0.001, the others sharing what is left; ← → choose a class.";
  say(at("loss"), `H(p, q) = ${nats(view.d.loss)}`);
  for (const box of document.querySelectorAll("#arrows input")) box.checked = view.show.has(box.value);
  for (const [name, input] of Object.entries(fields)) {
    if (document.activeElement !== input || !input.hasAttribute("aria-invalid")) input.value = written(name);
  }
  say(at("input-problem"), "");
  for (const input of Object.values(fields)) input.removeAttribute("aria-invalid");
}

function written(name) {
  if (name === "classes") return view.classes.join(", ");
  const c = view.p.indexOf(1);
  if (name === "p" && c >= 0 && view.p.every((x, i) => i === c || x === 0)) return view.classes[c];
  return view[name].map((x) => Number(x.toPrecision(12))).join(", ");
}

/** What follows a change once the hand rests: the address, and Python's answer. */
function settle() {
  history.replaceState(null, "", address(view, data.stories));
  checked?.update(view);
}

function open() {
  try {
    view = derived(parse(location.hash, data.stories, data.start));
    at("problem").hidden = true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    view = derived(parse("", data.stories, data.start));
    say(at("problem-text"), `${error.message} Shown instead: the story to begin with.`);
    at("problem").hidden = false;
  }
  draw();
  checked?.update(view);
}

function typed(event) {
  try {
    // A field that was left alone keeps its numbers, of which it may show fewer digits.
    const touched = (name) => fields[name].value !== written(name);
    const same = !touched("classes");
    const classes = same ? view.classes : checkClasses(fields.classes.value.split(",").map((name) => name.trim()));
    const q = same && !touched("q") ? view.q : checkPrediction(numbers(fields.q.value, "The prediction", classes.length), classes);
    const p = same && !touched("p") ? view.p : truth(fields.p.value, classes);
    for (const input of Object.values(fields)) input.removeAttribute("aria-invalid");
    change({ ...(same ? {} : begin(classes, q, p)), classes, q, p, story: null });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    event.target.setAttribute("aria-invalid", "true");
    say(at("input-problem"), error.message);
  }
}

for (const input of Object.values(fields)) input.addEventListener("change", typed);
for (const box of document.querySelectorAll("#arrows input")) {
  box.addEventListener("change", () => {
    const show = new Set(view.show);
    if (box.checked) show.add(box.value);
    else show.delete(box.value);
    change({ show });
  });
}
at("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after “#” is the view
  at("figures").focus();
});
at("dismiss").addEventListener("click", () => { at("problem").hidden = true; });
addEventListener("hashchange", open);
if (!data.served) at("python").replaceChildren(h("span", {}, "This file needs no server: it computes every number itself."));
open();
document.documentElement.dataset.ready = "yes";
