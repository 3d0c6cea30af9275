// The grid: tiles with their size known beforehand, stacks for copies, and the line between likely and not.

import { $, count, make } from "./elements.js";
import { original, thumb } from "./server.js";
import { state } from "./state.js";
import { markOf } from "./labels.js";
import { isSelected, toggle } from "./select.js";

export const shown = { hits: [], likely: 0, total: 0, images: 0, background: null, below: false };

export function tile(hit, { small = false } = {}) {
  const copies = hit.copies?.length ?? 0;
  const mark = markOf(hit.id);
  const image = make("img", { src: thumb(hit, state.space), width: hit.width, height: hit.height, alt: hit.captions?.[0] ?? hit.name, loading: "lazy", decoding: "async", draggable: "true" });
  const link = make("a", { href: original(hit, state.space), "aria-label": `${hit.name}, open` }, image);
  link.dataset.open = hit.id;
  const item = make("li", { class: ["tile", copies ? "stack" : "", hit.likely === false ? "unlikely" : "", mark].join(" ").trim() }, link);
  item.dataset.id = hit.id;
  item.style.setProperty("--ratio", Math.min(Math.max(hit.width / hit.height, 0.45), 3).toFixed(3));
  item.addEventListener("dragstart", (event) => event.dataTransfer.setData("application/x-crosscue-id", hit.id));
  if (small) return item;
  item.classList.toggle("selected", isSelected(hit.id));
  item.append(
    make("button", { class: "pick", type: "button", "aria-label": `Select ${hit.name}`, "aria-pressed": String(isSelected(hit.id)), tabindex: "-1", onclick: (event) => toggle(hit.id, event.shiftKey) }, "✓"),
    make("div", { class: "over" }, make("span", {}, `${hit.name} · ${hit.score.toFixed(3)}`), make("button", { type: "button", tabindex: "-1", "data-similar": hit.id }, "Similar")),
  );
  if (copies) item.append(make("span", { class: "badge", title: hit.copies.join("\n") }, `${copies + 1} copies`));
  return item;
}

export function draw() {
  const likely = shown.hits.filter((hit) => hit.likely);
  const rest = shown.hits.filter((hit) => !hit.likely);
  const parts = likely.length ? [make("h1", { class: "unseen" }, "Results")] : [];
  if (likely.length) parts.push(make("ul", { class: "grid", id: "likely", "aria-label": "Likely results" }, ...likely.map((hit) => tile(hit))));
  else parts.push(make("div", { class: "empty" }, make("h1", {}, "Nothing here looks like that"), make("p", {}, rest.length ? "The closest images are below the line." : "Try other words, or a wider filter.")));
  if (rest.length) parts.push(border(rest.length));
  if (rest.length && (shown.below || !likely.length)) parts.push(make("ul", { class: "grid", id: "rest", "aria-label": "Results below the line" }, ...rest.map((hit) => tile(hit))));
  const active = document.activeElement?.closest?.(".tile")?.dataset.id;
  $("#results").replaceChildren(...parts);
  if (active) focusTile(active);
}

function border(number) {
  const likely = shown.likely;
  const words = likely ? "Good results end here" : "Below the line: probably not";
  const button = make("button", { type: "button", id: "below", "aria-expanded": String(shown.below) }, shown.below ? "Hide the rest" : `Show ${count(number)} more`);
  button.addEventListener("click", () => {
    shown.below = !shown.below;
    draw();
  });
  return make("div", { class: "border", id: "line" }, make("span", {}, words), likely ? button : null);
}

export function append(hits) {
  const lists = { true: $("#likely"), false: $("#rest") };
  if (hits.every((hit) => lists[String(hit.likely)])) for (const hit of hits) lists[String(hit.likely)].append(tile(hit));
  else draw();
}

export function tiles() {
  return [...document.querySelectorAll("#results .tile[data-id]")];
}

export function focusTile(id) {
  document.querySelector(`#results .tile[data-id="${id}"] a`)?.focus();
}

export function hitOf(id) {
  return shown.hits.find((hit) => hit.id === id);
}
