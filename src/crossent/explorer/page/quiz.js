// Predict, then see: the questions that Python made of each story's predictions.

import { h, say } from "crossent/dom.js";
import { percent } from "crossent/format.js";
import { storyView } from "crossent/state.js";

export function quiz(host, stories, start, change) {
  const about = h("p", { class: "about" });
  const asked = h("p", { class: "asked-question", id: "asked" });
  const options = h("div", { class: "options", role: "group", "aria-labelledby": "asked" });
  const reveal = h("p", { class: "reveal", role: "status" });
  const score = h("p", { class: "score" });
  const next = h("button", { type: "button", class: "next", onclick: () => advance() }, "Next question");
  const look = h("button", { type: "button", class: "look", onclick: () => change(storyView(...source)) }, "Show it above");
  host.append(about, asked, options, reveal, h("div", { class: "row" }, next, look, score));
  let source = null;
  let current = null;
  let index = 0;
  let answered = false;
  const tally = { right: 0, of: 0 };

  function ask() {
    const prediction = source[0].predictions[source[1]];
    const question = prediction.quiz[index];
    answered = false;
    const parts = prediction.classes.map((name, c) => [name, prediction.prediction[c], prediction.truth[c]]);
    const few = parts.length <= 6 ? `q: ${parts.map(([name, q]) => `${name} ${percent(q)}`).join(", ")}` : `${parts.length} classes`;
    const truth = parts.filter(([, , p]) => p > 0).map(([name, , p]) => (p === 1 ? name : `${name} ${percent(p)}`)).join(", ");
    say(about, `${few}; truth: ${truth}. Question ${index + 1} of ${prediction.quiz.length}.`);
    say(asked, `${question.question} …`);
    options.replaceChildren(...question.choices.map((choice) => h("button", { type: "button", onclick: () => answer(question, choice) }, minus(choice.text))));
    say(reveal, "");
    say(score, tally.of ? `${tally.right} of ${tally.of} right` : "");
  }

  function answer(question, choice) {
    if (answered) return;
    answered = true;
    tally.of += 1;
    if (choice.right) tally.right += 1;
    [...options.children].forEach((button, i) => {
      const one = question.choices[i];
      button.setAttribute("aria-disabled", "true");
      button.className = one.right ? "right" : one === choice ? "wrong" : "";
    });
    const right = question.choices.find((one) => one.right);
    say(reveal, choice.right ? `Right. ${minus(choice.why)}` : `Not ${minus(choice.text)}: ${minus(choice.why)} It is ${minus(right.text)}. ${minus(right.why)}`);
    say(score, `${tally.right} of ${tally.of} right`);
  }

  function advance() {
    const [story, i] = source;
    if (index + 1 < story.predictions[i].quiz.length) index += 1;
    else {
      source = following(source);
      index = 0;
    }
    ask();
    options.firstChild.focus();
  }

  /** The next prediction that has questions, through all stories and round. */
  function following([story, i]) {
    const all = stories.flatMap((one) => one.predictions.map((_, k) => [one, k])).filter(([one, k]) => one.predictions[k].quiz.length);
    const at = all.findIndex(([one, k]) => one === story && k === i);
    return all[(at + 1) % all.length];
  }

  return {
    update(view) {
      const key = `${view.story}/${view.prediction}`;
      if (source && (view.story === null || key === current)) return;
      current = key;
      const chosen = [stories.find((one) => one.name === (view.story ?? start)), view.prediction];
      if (source && source[0] === chosen[0] && source[1] === chosen[1]) return;
      source = chosen[0].predictions[chosen[1]].quiz.length ? chosen : following(chosen);
      index = 0;
      ask();
    },
  };
}

const minus = (text) => text.replace(/(^|[\s(])-(?=\d)/g, "$1−").replace(/\binf\b/g, "∞");
