// Selection as in a file manager: click, Shift for a range, Ctrl-A for all likely ones; then copy, download or mark.

import { $, count, make, problem, say } from "./elements.js";
import { prefer } from "./detail.js";
import { hitOf, tiles } from "./grid.js";
import { mark } from "./labels.js";
import { allLikely } from "./search.js";
import { query, state } from "./state.js";

const chosen = new Map(); // id -> path
const add = (id) => chosen.set(id, hitOf(id)?.path);
const MOST_FILES = 5_000; // as in image_routes.py
let anchor = null;

export const isSelected = (id) => chosen.has(id);

export function toggle(id, range = false) {
  const order = tiles().map((item) => item.dataset.id);
  if (range && anchor !== null && order.includes(anchor)) {
    const [from, to] = [order.indexOf(anchor), order.indexOf(id)].sort((a, b) => a - b);
    for (const between of order.slice(from, to + 1)) add(between);
  } else {
    if (chosen.has(id)) chosen.delete(id);
    else add(id);
    anchor = id;
  }
  show();
}

export async function selectAll() {
  try {
    for (const { id, path } of await allLikely()) chosen.set(id, path);
    show();
    say(`${count(chosen.size)} likely ${chosen.size === 1 ? "image" : "images"} selected, loaded or not.`);
  } catch (error) {
    problem(error.message);
  }
}

export function clear() {
  chosen.clear();
  anchor = null;
  show();
}

export const anySelected = () => chosen.size > 0;

function show() {
  $("#selection").hidden = !chosen.size;
  $("#prefer").hidden = chosen.size !== 2;
  $("#selected").textContent = `${count(chosen.size)} selected`;
  document.body.classList.toggle("picking", chosen.size > 0);
  for (const item of tiles()) {
    item.classList.toggle("selected", chosen.has(item.dataset.id));
    item.querySelector(".pick")?.setAttribute("aria-pressed", String(chosen.has(item.dataset.id)));
  }
}

function paths() {
  return [...chosen.values()].filter(Boolean);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied.`);
  } catch {
    const area = make("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    say(`${what} copied.`);
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function command() {
  const terms = query().filter((term) => term.text);
  const words = terms.map((term, place) => `${place ? (term.weight < 0 ? "- " : "+ ") : ""}${quoted(term.text)}`);
  const filter = state.filter ? ` --filter ${quoted(state.filter)}` : "";
  const folder = $("#space").selectedOptions[0]?.dataset.folder || "DIR";
  const space = state.space.split("/").at(-1); // that of several collections has the name of its own before it
  return `crosscue search ${words.join(" ")} --collection ${quoted(folder)} --space ${quoted(space)}${filter} --k ${chosen.size} --paths`;
}

function pairs() {
  const words = query().filter((term) => term.text && term.weight > 0).map((term) => term.text).join(" ");
  if (!words) return say("A pair needs words: type what the images show first.");
  const lines = paths().map((image) => JSON.stringify({ image, captions: [words] }));
  const link = make("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`])), download: "pairs.jsonl" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`${count(lines.length)} pairs with '${words}'.`);
}

const actions = {
  pairs,
  paths: () => copy(paths().join("\n"), `${count(chosen.size)} paths`),
  command: () => copy(command(), "The command"),
  relevant: () => mark([...chosen.keys()], true),
  not: () => mark([...chosen.keys()], false),
  prefer: () => prefer(...chosen.keys()),
  clear,
};

$("#selection").addEventListener("click", (event) => actions[event.target.dataset?.act]?.());
$("#zip").addEventListener("submit", (event) => {
  if (chosen.size > MOST_FILES) {
    event.preventDefault();
    return problem(`An archive may hold at most ${count(MOST_FILES)} images. Choose fewer, or copy the search as a command.`);
  }
  event.target.elements.ids.value = [...chosen.keys()].join(",");
  event.target.elements.space.value = state.space;
});
