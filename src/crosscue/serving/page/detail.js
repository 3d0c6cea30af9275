// One image: its record, its score with the background, why it was found, and images like it.

import { $, make, problem } from "./elements.js";
import { hitOf, shown, tile } from "./grid.js";
import { clearHeat, drawHeat } from "./heat.js";
import { get, original, post } from "./server.js";
import { change, query, state } from "./state.js";

const dialog = $("#detail");
let current = null;
let pair = null; // an image, and the one that its words are compared with

export function prefer(one, other) {
  pair = { one, other };
  change({ open: one });
}

const rival = () => (pair?.one === current?.id ? pair.other : null);

export async function open(id) {
  const space = encodeURIComponent(state.space);
  try {
    const record = await get(`/api/images/${id}?space=${space}`);
    current = { ...record, ...(hitOf(id) ?? {}), background: shown.background };
    fill(current);
    if (!dialog.open) dialog.showModal();
    if (rival()) why();
    const alike = await get(`/api/images/${id}/similar?k=12&space=${space}`);
    if (current?.id === id) $("#alike").replaceChildren(...alike.hits.map((hit) => tile(hit, { small: true })));
  } catch (error) {
    problem(error.message);
    if (state.open) change({ open: "" }, { push: false });
  }
}

export function close() {
  current = pair = null;
  clearHeat();
  if (dialog.open) dialog.close();
}

function fill(hit) {
  clearHeat();
  $("#why").setAttribute("aria-pressed", "false");
  $("#explanation").replaceChildren();
  $("#alike").replaceChildren();
  Object.assign($("#large"), { src: original(hit, state.space), alt: hit.captions?.[0] ?? hit.name });
  $("#original").href = original(hit, state.space);
  $("#name").textContent = hit.name;
  $("#captions").textContent = (hit.captions ?? []).join(" · ");
  meter(hit);
  const facts = { Path: hit.path, Size: `${hit.width} × ${hit.height}`, Taken: hit.taken?.replace("T", " "), Camera: hit.camera, Category: hit.category, Matched: hit.matched, Copies: hit.copies?.length ? hit.copies.join(", ") : null };
  $("#record").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
}

// The score between the query's own mean over random images and the line where good results end.
function meter(hit) {
  const place = $("#meter");
  place.hidden = hit.score === undefined || !hit.background;
  if (place.hidden) return;
  const { mean, spread, threshold } = hit.background;
  const [low, high] = [mean - 3 * spread, Math.max(hit.score, threshold) + 2 * spread];
  const at = (value) => `${Math.min(Math.max(((value - low) / (high - low)) * 100, 0), 99)}%`;
  const usual = make("i", { class: "spread" });
  Object.assign(usual.style, { left: at(mean - spread), width: `calc(${at(mean + spread)} - ${at(mean - spread)})` });
  const line = make("u");
  line.style.left = at(threshold);
  const score = make("b");
  score.style.left = at(hit.score);
  const words = make("small", {}, `score ${hit.score.toFixed(3)}; usual here ${mean.toFixed(3)} ± ${spread.toFixed(3)}; good from ${threshold.toFixed(3)}`);
  place.replaceChildren(make("i"), usual, line, score, words);
}

export async function why() {
  const words = query().find((term) => term.text)?.text;
  if (!current) return;
  if (!words) return explain("Type words first: they are what a place of the image can agree with.");
  explain("Looking…");
  try {
    const found = await post("/api/why", { id: current.id, space: state.space, text: words, than: rival() });
    $("#why").setAttribute("aria-pressed", "true");
    drawHeat(found.places);
    const places = found.kind === "direct" ? `Red places raise the score and blue ones lower it: together they add ${found.share.toFixed(3)} of ${found.score.toFixed(3)}${found.prompts ? `, and the prompts ${found.prompts.toFixed(3)}` : ""}; the rest is spread out or comes from earlier layers.` : `Each place was greyed in turn: without a red one the score falls, and without a blue one it rises. The changes add up to ${found.share.toFixed(3)} of ${found.score.toFixed(3)}.`;
    const apart = found.prefers ? [make("p", {}, `Words for this image rather than ${hitOf(rival())?.name ?? "the other"}:`), listed(found.prefers, "prefers")] : [];
    $("#explanation").replaceChildren(make("p", {}, places), listed(found.words), ...apart, make("p", { class: "note" }, "Shows what moved this score in this model. It does not show what the model understood."));
  } catch (error) {
    explain(error.message);
  }
}

function listed(words, id = null) {
  const signed = (delta) => `${delta >= 0 ? "+" : "−"}${Math.abs(delta).toFixed(3)}`;
  return make("p", { class: "words", id }, ...words.map(([word, delta]) => make("span", {}, word, " ", make("small", {}, signed(delta)))));
}

function explain(text) {
  $("#explanation").replaceChildren(make("p", {}, text));
}

export const currentId = () => current?.id ?? null;

dialog.addEventListener("close", () => state.open && change({ open: "" }));
let touch = null;
dialog.addEventListener("touchstart", (event) => (touch = event.touches[0].clientX), { passive: true });
dialog.addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - touch;
  if (Math.abs(moved) > 70) step(moved < 0 ? 1 : -1);
});

export function step(by) {
  const order = [...document.querySelectorAll("#results .tile[data-id]")].map((item) => item.dataset.id);
  const next = order[order.indexOf(current?.id) + by];
  if (next) change({ open: next }, { push: false });
}
