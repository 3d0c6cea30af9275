// Compare without words: the held-out texts of the marks, with recall before and after, and the interval of the difference.

import { $, make, problem, status } from "./elements.js";
import { get } from "./server.js";
import { change } from "./state.js";

const percent = (share) => `${Math.round(100 * share)} %`;

export async function drawGain([before, after], isLatest) {
  const results = $("#results");
  status("Searching the held-out texts with both models…");
  try {
    const found = await get(`/api/labels/gain?before=${encodeURIComponent(before)}&after=${encodeURIComponent(after)}`);
    if (!isLatest()) return;
    problem("");
    const texts = found.texts.toSorted((one, other) => other.after - other.before - (one.after - one.before));
    const left = `${found.trained} texts are left out, because a model has learned from their images.`;
    results.replaceChildren(
      make("h1", {}, found.known ? `${found.difference.mean >= 0 ? "+" : "−"}${Math.abs(found.difference.mean).toFixed(1)} points` : "The gain cannot be known yet"),
      make("p", { id: "gain" }, found.verdict),
      ...(found.trained ? [make("p", { class: "note" }, left)] : []),
      make("table", { class: "gains" }, make("thead", {}, make("tr", {}, ...["Held-out text", "Marked", before, after].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...texts.map(row))),
    );
    status(`${texts.length} held-out ${texts.length === 1 ? "text" : "texts"}. Each opens in both models.`);
  } catch (error) {
    if (!isLatest()) return;
    results.replaceChildren(make("div", { class: "empty" }, make("h1", {}, "Nothing to compare yet"), make("p", {}, "Type words, or mark images: held-out texts with marks appear here.")));
    problem(error.message);
  }
}

function row(text) {
  const moved = text.after > text.before ? "up" : text.after < text.before ? "down" : "";
  const link = make("button", { type: "button", onclick: () => change({ words: text.text }) }, text.text);
  return make("tr", { class: moved }, make("th", { scope: "row" }, link), make("td", {}, String(text.images)), make("td", {}, percent(text.before)), make("td", {}, percent(text.after)));
}
