// The stories: a question, the predictions that settle it, and what they teach, all of it computed in Python.

import { choices, h } from "crossent/dom.js";
import { number } from "crossent/format.js";
import { storyView } from "crossent/state.js";

export function stories(nav, host, all, change) {
  const question = h("h2", { class: "question" });
  const captions = h("div", { class: "choices", role: "group", "aria-label": "The story's predictions" });
  const facts = h("ol", { class: "facts" });
  const tables = h("div", { class: "story-tables" });
  host.append(h("div", { class: "asked" }, question, captions), facts, tables);
  let shown = null;

  return {
    update(view) {
      choices(nav, all.map((story) => [story.name, story.title]), view.story, (name) => change(storyView(all.find((one) => one.name === name), 0)));
      const story = all.find((one) => one.name === (view.story ?? shown));
      if (!story) return;
      choices(captions, story.predictions.map((one, i) => [i, typographic(one.caption).replace("_", " of ")]), view.story === story.name ? view.prediction : null, (i) => change(storyView(story, Number(i))));
      if (shown === story.name) return;
      shown = story.name;
      question.replaceChildren(...typeset(story.question));
      facts.replaceChildren(...story.facts.map((fact) => h("li", {}, typeset(fact.text))));
      tables.replaceChildren(...story.tables.map(drawn));
    },
  };
}

/** Sentences come in plain text: q_dog is a q with an index. */
const typeset = (text) =>
  typographic(text).split(/\b([pq]_[^\s.,:;)/]+)/).map((part, i) => (i % 2 ? h("span", { class: "symbol" }, h("i", {}, part[0]), h("sub", {}, part.slice(2))) : part));

/** A true minus before a number, and infinity. */
const typographic = (text) => text.replace(/(^|[\s(])-(?=\d|inf)/g, "$1−").replace(/\binf\b/g, "∞");

function drawn({ title, columns, rows }) {
  const head = h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name))));
  const body = h("tbody", {}, rows.map((row) => h("tr", {}, row.map((x, i) => (i ? h("td", {}, cell(x)) : h("th", { scope: "row" }, cell(x)))))));
  const scroll = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, h("table", {}, head, body));
  return h("details", {}, h("summary", {}, title), scroll);
}

const cell = (value) => number(typeof value === "string" ? Number(value.replace("inf", "Infinity")) : value);
