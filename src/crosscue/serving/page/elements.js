// Elements made by code. Text enters as text, never as markup.

export const $ = (selector) => document.querySelector(selector);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const count = (number) => number.toLocaleString("en");

let clearing = 0;
export function say(text) {
  const status = $("#status");
  const before = status.dataset.before ?? status.textContent;
  status.dataset.before = before;
  status.textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => {
    if (status.textContent === text) status.textContent = status.dataset.before;
    delete status.dataset.before;
  }, 2500);
}

export function status(text) {
  clearTimeout(clearing);
  delete $("#status").dataset.before;
  $("#status").textContent = text;
}

export function problem(message) {
  const place = $("#problem");
  place.hidden = !message;
  place.textContent = message ?? "";
}
