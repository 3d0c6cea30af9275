// One search a keystroke at most: 120 ms after the last key, and an older answer never replaces a newer one.

import { $, count, make, problem, status } from "./elements.js";
import { append, draw, shown } from "./grid.js";
import { remembered } from "./labels.js";
import { post } from "./server.js";
import { change, query, state } from "./state.js";

const PAUSE = 120;
const PAGE = 80;
const MOST = 500;
const REST = 300;
const LOADING = 2_000;
let latest = 0;
let waiting = 0;
let loading = false;
let ended = false;

export function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    change({ words: $("#words").value }, { push: false });
  }, PAUSE);
}

export async function search() {
  const number = ++latest;
  const terms = query();
  if (!terms.length) return;
  $("#results").classList.add("loading");
  try {
    const started = performance.now();
    const answer = await post("/api/search", body(terms, 0));
    if (number !== latest) return;
    problem("");
    remembered();
    Object.assign(shown, { hits: answer.hits, likely: answer.likely_count, background: answer.background, below: false });
    ended = answer.hits.length < PAGE;
    shown.total = 0;
    shown.images = answer.images;
    status(summary(answer, performance.now() - started));
    draw();
    if (moreLikely()) setTimeout(() => total(number), REST);
    if (answer.truncated?.length) problem(answer.truncated.join(" "));
  } catch (error) {
    if (number === latest) problem(error.message);
    if (error.status === 503) setTimeout(() => number === latest && search(), LOADING);
  } finally {
    if (number === latest) $("#results").classList.remove("loading");
  }
}

function body(terms, offset) {
  return { ...asked(terms), k: PAGE, offset };
}

function asked(terms) {
  const request = { query: terms, space: state.space || null };
  if (state.filter.trim()) request.filter = state.filter.trim();
  return request;
}

const likelyShown = () => shown.hits.filter((hit) => hit.likely).length;
const moreLikely = () => !ended && likelyShown() === shown.hits.length;

function summary(answer, took) {
  const likely = likelyShown();
  const first = likely ? `${count(likely)} likely${moreLikely() ? " so far" : ""} of ${count(answer.images)} images` : `none of ${count(answer.images)} images looks like that`;
  return `${first} · ${Math.round(took)} ms`;
}

// The number of all likely images, which the server counts when one has stopped typing.
async function total(number) {
  if (number !== latest) return;
  try {
    const answer = await post("/api/likely", asked(query()));
    if (number !== latest) return;
    shown.total = answer.count;
    progress();
  } catch (error) {
    if (number === latest) problem(error.message);
  }
}

// A stack of copies is one result, so the last page may end below the number of likely images.
function progress() {
  const likely = likelyShown();
  if (!moreLikely()) status(`${count(likely)} likely of ${count(shown.images)} images`);
  else status(shown.total > likely ? `${count(likely)} of ${count(shown.total)} likely` : `${count(likely)} likely so far`);
}

async function more() {
  if (loading || ended || state.compare || !shown.hits.length || shown.hits.length >= MOST) return;
  const likelyLeft = shown.hits.every((hit) => hit.likely);
  if (!likelyLeft && !shown.below) return;
  loading = true;
  const number = latest;
  try {
    const answer = await post("/api/search", body(query(), shown.hits.length));
    if (number !== latest) return;
    ended = answer.hits.length < PAGE;
    const known = new Set(shown.hits.map((hit) => hit.id));
    const fresh = answer.hits.filter((hit) => !known.has(hit.id));
    shown.hits.push(...fresh);
    append(fresh);
    progress();
  } catch (error) {
    problem(error.message);
  } finally {
    loading = false;
  }
}

export async function allLikely() {
  return (await post("/api/likely", asked(query()))).images;
}

export function chips() {
  const made = state.terms.map((term, place) => {
    const picture = term.id ? make("img", { src: `/thumbs/${term.id}?space=${encodeURIComponent(state.space)}`, alt: "" }) : term.image ? make("img", { src: term.image, alt: "" }) : null;
    const label = term.text ?? "image";
    const weight = make("button", { type: "button", "aria-label": `Weight of ${label}: ${term.weight}. Change it` }, term.weight < 0 ? "−" : term.weight === 2 ? "×2" : "+");
    weight.addEventListener("click", () => withTerms((terms) => (terms[place].weight = term.weight === 1 ? 2 : term.weight === 2 ? -1 : 1)));
    const gone = make("button", { type: "button", "aria-label": `Remove ${label}` }, "×");
    gone.addEventListener("click", () => withTerms((terms) => terms.splice(place, 1)));
    return make("span", { class: `chip${term.weight < 0 ? " minus" : ""}` }, weight, picture, make("span", {}, label), gone);
  });
  $("#terms").replaceChildren(...made);
}

export function withTerms(edit) {
  const terms = state.terms.map((term) => ({ ...term }));
  edit(terms);
  change({ terms });
}

new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), { rootMargin: "900px" }).observe($("#more"));
