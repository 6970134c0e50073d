// The verdict on the two formulas and on four sentences of the popular answer, each with a view to click.

import { differential, grad, multiple, transfer } from "crossent/differential.js";
import { h } from "crossent/dom.js";
import { number, vector } from "crossent/format.js";
import { begin, label, storyView } from "crossent/state.js";

const CLASSES = ["dog", "cat", "bird"];
const Q = [0.5, 0.3, 0.2];

export function verdict(host, stories, change) {
  const show = (view) => {
    change(view);
    document.getElementById("figures").scrollIntoView({ block: "start" });
  };
  const at = (q, p, more) => ({ ...begin(CLASSES, q, p), story: null, prediction: 0, ...more });
  const items = [...formulas(at), ...sentences(at, stories)];
  host.append(h("ul", { class: "verdicts" }, items.map(({ mark, said, because, views }) =>
    h("li", { class: mark }, h("p", { class: "said" }, h("span", { class: "mark" }, { right: "Right", wrong: "Wrong", half: "Half right", assumed: "An assumption" }[mark]), said),
      h("p", {}, because), h("p", { class: "views" }, views.map(([name, view]) => h("button", { type: "button", onclick: () => show(view) }, name)))))));
}

function formulas(at) {
  const d = differential(Q, label(CLASSES, 0));
  return [
    {
      mark: "right",
      said: "The derivative is −1/q of the true class for itself, and 0 for the others.",
      because: `Nobody pays: every other probability is held fixed, and the sum leaves 1. At ${vector(Q)}: ${vector(grad(d, "nobody"))}.`,
      views: [["nobody pays", at(Q, label(CLASSES, 0), { pay: "nobody" })]],
    },
    {
      mark: "right",
      said: "The derivative is +1/q of the true class for every other class.",
      because: `The true class pays, for it is 1 minus the others. There: ${vector(grad(d, 0))}, which is the first plus ${number(multiple(d, 0))}·(1, 1, 1).`,
      views: [["dog pays", at(Q, label(CLASSES, 0), { pay: 0 })]],
    },
  ];
}

function sentences(at, stories) {
  const soft = [0.2, 0.3, 0.5];
  const everywhere = differential(Q, soft);
  const oneHot = differential(Q, label(CLASSES, 0));
  const dog = stories.find((story) => story.name === "dog");
  const [a, b] = dog.predictions.map((one) => differential(one.prediction, one.truth));
  const mixed = [0.8, 0, 0.2];
  const mix = differential(Q, mixed);
  const byLabel = [0, 1, 2].map((c) => differential(Q, label(CLASSES, c)).logits);
  const mean = Q.map((_, c) => mixed.reduce((total, p, y) => total + p * byLabel[y][c], 0));
  const deck = stories.find((story) => story.name === "deck");
  const cards = deck.predictions[0];
  const [drawn, eleven, other] = ["5♣", "11♥", "6♣"].map((card) => cards.classes.indexOf(card));
  const uniform = differential(cards.prediction, cards.truth);
  return [
    {
      mark: "wrong",
      said: "“The formulas are right only if no class has a true probability of 0.”",
      because: `It is the reverse. Both are right for every truth, and they agree entry by entry exactly when the payer has no truth. With the truth ${vector(soft)} no payer gives the first formula: they add ${vector([0, 1, 2].map((r) => multiple(everywhere, r)))}. With a label, cat and bird add ${vector([1, 2].map((r) => multiple(oneHot, r)))}.`,
      views: [["truth everywhere: they differ", at(Q, soft, { pay: 0 })], ["no truth on cat: they agree", at(Q, label(CLASSES, 0), { pay: 1, rise: 2 })]],
    },
    {
      mark: "half",
      said: "“50/49/1 and 50/25/25 have the same loss, so the derivatives of the other classes do not matter.”",
      because: `The loss is the same, ${number(a.loss)}, and so is the derivative along the simplex. But the logit gradients are ${vector(a.logits)} and ${vector(b.logits)}: softmax learns something else from each.`,
      views: dog.predictions.map((one, i) => [one.caption, storyView(dog, i)]),
    },
    {
      mark: "assumed",
      said: "“A truth that is 20 % bird and 80 % dog is impossible.”",
      because: `One label is one class; what labels average to is not. The gradient is linear in the truth: the mean over such labels is ${vector(mean)}, and q − p is ${vector(mix.logits)}.`,
      views: [["80 % dog, 20 % bird", at(Q, mixed, { pay: 0 })]],
    },
    {
      mark: "wrong",
      said: "“The model's 11 of hearts is multiplied by its true probability, 0, so it is lost.”",
      because: `In q of the true card = 1 − the sum of the others it counts with the factor 1. Probability moved from 5♣ to 11♥ costs ${number(transfer(uniform, drawn, eleven))} per unit; from 11♥ to 6♣, ${number(transfer(uniform, eleven, other))}.`,
      views: [["5♣ pays, 11♥ rises", { ...storyView(deck, 0), rise: eleven, pay: drawn }], ["11♥ pays, 6♣ rises", { ...storyView(deck, 0), rise: other, pay: eleven }]],
    },
  ];
}
