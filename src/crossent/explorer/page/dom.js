// Elements made in one expression. Text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Replace what an element holds, unless it holds the same text already (screen readers announce changes). */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A group of buttons of which one is pressed. */
export function choices(host, options, current, choose) {
  const wanted = options.map(([value, label]) => `${value}\u0000${label}`).join("\u0001");
  if (host.dataset.options !== wanted) {
    host.dataset.options = wanted;
    host.replaceChildren(
      ...options.map(([value, label]) => h("button", { type: "button", "data-value": value, onclick: () => choose(value) }, label)),
    );
  }
  for (const button of host.children) button.setAttribute("aria-pressed", String(button.dataset.value === String(current)));
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
