// Where a server shows the page, what the same prediction gives in Python, and how far the page is from it.

import { h } from "crossent/dom.js";
import { explanation } from "crossent/explanation.js";
import { number } from "crossent/format.js";

/** The address that answers what `crossent explain --json` prints for a view. */
export function explainAddress({ q, p, classes, pay }) {
  const named = (values) => JSON.stringify(Object.fromEntries(classes.map((name, c) => [name, values[c]])));
  const asked = [...new Set([p.indexOf(Math.max(...p)), ...(typeof pay === "number" ? [pay] : [])])].map((c) => classes[c]);
  return `/api/explain?${new URLSearchParams({ probs: named(q), target: named(p), pay: JSON.stringify(asked) })}`;
}

/** The largest difference between two answers, relative to the size of each number. */
export function distance(mine, theirs) {
  if (theirs === null || typeof theirs !== "object") return apart(mine, theirs);
  return Math.max(0, ...Object.keys(theirs).map((key) => distance(mine?.[key], theirs[key])));
}

function apart(mine, theirs) {
  const value = theirs === "inf" ? Infinity : theirs === "-inf" ? -Infinity : theirs;
  if (mine === value) return 0;
  return typeof value === "number" && typeof mine === "number" ? Math.abs(mine - value) / Math.max(1, Math.abs(value)) : Infinity;
}

export function python(host) {
  let asked = 0;
  return {
    async update(view) {
      asked += 1;
      const now = asked;
      const address = explainAddress(view);
      try {
        const response = await fetch(address);
        const theirs = await response.json();
        if (now !== asked) return;
        if (!response.ok) {
          host.textContent = theirs.error;
          return;
        }
        const payers = Object.fromEntries(Object.keys(theirs.derivatives).slice(3).map((name) => [name, view.classes.indexOf(name)]));
        const { descents, ...shown } = theirs;
        const gap = distance(explanation(view.q, view.p, view.classes, payers), shown);
        host.replaceChildren(`crossent in Python gives the same numbers${gap > 0 ? ` to ${number(gap, 1)}` : ", bit for bit"}: `, h("a", { href: address }, "JSON"));
      } catch (error) {
        if (now === asked) host.textContent = `The server is gone (${error.message}); the page goes on by itself.`;
      }
    },
  };
}
