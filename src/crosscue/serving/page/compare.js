// Two models side by side: the same image is joined by a line, and each place shows its place in the other.

import { $, make, problem, status } from "./elements.js";
import { drawGain } from "./gain.js";
import { tile } from "./grid.js";
import { post } from "./server.js";
import { query, state } from "./state.js";

const SHOWN = 12;
const GAP = 4; // between an image and its line
let latest = 0;

export async function compare() {
  const number = ++latest;
  const terms = query();
  const names = [...$("#space").options].map((option) => option.value);
  const other = names.find((name) => name !== state.space) ?? state.space;
  const spaces = names.indexOf(other) < names.indexOf(state.space) ? [other, state.space] : [state.space, other];
  if (!terms.length) return drawGain(spaces, () => number === latest);
  try {
    const answer = await post("/api/compare", { query: terms, spaces, k: SHOWN, filter: state.filter.trim() || null });
    if (number !== latest) return;
    problem("");
    const columns = answer.spaces.map((part, side) => make("section", {}, make("h2", {}, part.space), make("ul", { class: "grid" }, ...part.hits.map((hit, place) => row(hit, place, side)))));
    const lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    lines.classList.add("lines");
    $("#results").replaceChildren(make("h1", { class: "unseen" }, "Comparison"), make("div", { class: "columns" }, ...columns, lines));
    status(`The first ${SHOWN} of both models.`);
    join();
  } catch (error) {
    if (number === latest) problem(error.message);
  }
}

function row(hit, place, side) {
  const item = tile({ ...hit, likely: true });
  const moved = hit.other_rank ? hit.other_rank - place - 1 : null;
  const words = hit.other_rank ? `${place + 1} here, ${hit.other_rank} there` : `${place + 1} here, below ${SHOWN} there`;
  item.append(make("span", { class: `place ${moved === null || moved > 0 ? "up" : moved < 0 ? "down" : ""}`, title: hit.name }, words));
  item.dataset.side = side;
  item.addEventListener("mouseenter", () => light(hit.id, true));
  item.addEventListener("mouseleave", () => light(hit.id, false));
  return item;
}

function join() {
  const lines = $(".lines");
  if (!lines) return;
  const frame = lines.parentElement.getBoundingClientRect();
  lines.replaceChildren();
  for (const left of document.querySelectorAll('.columns .tile[data-side="0"]')) {
    const right = document.querySelector(`.columns .tile[data-side="1"][data-id="${left.dataset.id}"]`);
    if (!right) continue;
    const [from, to] = [left.getBoundingClientRect(), right.getBoundingClientRect()];
    const [x1, y1] = [from.right - frame.left + GAP, from.top + from.height / 2 - frame.top];
    const [x2, y2] = [to.left - frame.left - GAP, to.top + to.height / 2 - frame.top];
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${x1} ${y1} C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`);
    path.dataset.id = left.dataset.id;
    lines.append(path);
  }
}

function light(id, on) {
  for (const path of document.querySelectorAll(`.lines path[data-id="${id}"]`)) path.classList.toggle("on", on);
}

window.addEventListener("resize", join);
