// Marks: an image is right or wrong for the words of the search. They become training pairs.

import { $, count, make, problem, say } from "./elements.js";
import { tiles } from "./grid.js";
import { get, post, remove } from "./server.js";
import { query, state } from "./state.js";

const marks = new Map(); // text -> Map(id -> relevant)
const searched = new Set(); // texts of this visit
const MOST_TEXTS = 100;
const FEWEST = 10; // as in label_routes.py

const text = () => query().filter((term) => term.text && term.weight > 0).map((term) => term.text).join(" ");

export function remembered() {
  if (text()) searched.add(text());
  if (searched.size > MOST_TEXTS) searched.delete(searched.values().next().value);
}

export function markOf(id) {
  const relevant = marks.get(text())?.get(id);
  return relevant === undefined ? "" : relevant ? "right" : "wrong";
}

export async function load() {
  try {
    for (const row of (await get("/api/labels")).labels) remember(row.text, row.id, row.relevant);
    show();
  } catch (error) {
    problem(error.message);
  }
}

function remember(words, id, relevant) {
  if (!marks.has(words)) marks.set(words, new Map());
  if (relevant === null) marks.get(words).delete(id);
  else marks.get(words).set(id, relevant);
  if (!marks.get(words).size) marks.delete(words);
}

export async function mark(ids, relevant) {
  const words = text();
  if (!words) return say("A mark belongs to words: type what the image shows first.");
  try {
    for (const id of ids) {
      const before = marks.get(words)?.get(id);
      if (before === relevant) {
        await remove("/api/labels", { text: words, id });
        remember(words, id, null);
      } else {
        await post("/api/labels", { text: words, id, relevant, space: state.space });
        remember(words, id, relevant);
      }
    }
    show();
  } catch (error) {
    problem(error.message);
  }
}

function show() {
  const words = text();
  for (const item of tiles()) {
    item.classList.remove("right", "wrong");
    const mark = markOf(item.dataset.id);
    if (mark) item.classList.add(mark);
  }
  $("#marks").hidden = !marks.size;
  const here = marks.get(words)?.size ?? 0;
  const first = here ? `${count(here)} marked for '${words}'; ` : "";
  const right = [...marks.values()].filter((images) => [...images.values()].includes(true)).length;
  const left = FEWEST - right;
  const rest = left > 0 ? `${left} more ${left === 1 ? "text" : "texts"} with a right image, and adapting can begin.` : `${count(right)} texts have a right image: adapting can begin.`;
  $("#marked").textContent = `${first}${rest}`;
}

export async function advise() {
  try {
    const answer = await get("/api/labels/advice");
    $("#advice").textContent = answer.advice;
    $("#commands").replaceChildren(...answer.commands.map((command) => make("li", {}, make("code", {}, command))));
    $("#unsure").hidden = true;
    $("#next").showModal();
    await unsure();
  } catch (error) {
    problem(error.message);
  }
}

async function unsure() {
  const found = await post("/api/labels/next", { texts: [...searched], space: state.space || null });
  const links = found.texts.map((one) => make("a", { href: `/?q=${encodeURIComponent(one.text)}&space=${encodeURIComponent(state.space)}` }, one.text));
  $("#nexts").replaceChildren(...links);
  $("#unsure").hidden = !links.length;
}
