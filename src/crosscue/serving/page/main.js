// The page: reads its address, searches, and wires what can be clicked.

import { compare } from "./compare.js";
import { close, open, why, currentId } from "./detail.js";
import "./drop.js";
import { $ } from "./elements.js";
import { similar } from "./keys.js";
import { advise, load, mark } from "./labels.js";
import { chips, search, soon, withTerms } from "./search.js";
import { toggle } from "./select.js";
import { change, onChange, query, read, state } from "./state.js";

let before = "";
// A change that takes along the words and the filter that were typed since the last search.
const now = (changes = {}) => change({ words: $("#words").value, filter: $("#filter").value, ...changes });
if (document.body.dataset.signedIn === "yes") begin();

function begin() {
  const early = $("#words").value; // typed before this script ran
  read();
  if (early && !state.words) state.words = early;
  $("#words").addEventListener("input", soon);
  $("#search").addEventListener("submit", (event) => {
    event.preventDefault();
    now();
  });
  $("#words").addEventListener("keydown", (event) => {
    const written = $("#words").value.trim();
    if (event.key === "Enter" && event.shiftKey && written) {
      event.preventDefault();
      $("#words").value = "";
      state.words = "";
      withTerms((terms) => terms.push({ weight: written.startsWith("-") ? -1 : 1, text: written.replace(/^[-+]\s*/, "") }));
    } else if (event.key === "Backspace" && !$("#words").value && state.terms.length) withTerms((terms) => terms.pop());
  });
  $("#space").addEventListener("change", (event) => now({ space: event.target.value }));
  $("#filter").addEventListener("change", () => now());
  $("#compare").addEventListener("click", () => now({ compare: !state.compare }));
  $("#help").addEventListener("click", () => $("#keys").showModal());
  $("#loop").addEventListener("click", advise);
  $("#gains").addEventListener("click", () => {
    $("#next").close();
    $("#words").value = "";
    change({ words: "", terms: [], compare: true });
  });
  $("#why").addEventListener("click", why);
  $("#similar").addEventListener("click", () => similar(currentId()));
  $("#right").addEventListener("click", () => mark([currentId()], true));
  $("#wrong").addEventListener("click", () => mark([currentId()], false));
  document.addEventListener("click", clicked);
  onChange(show);
  show({ first: true });
  load();
  document.body.dataset.ready = "yes";
}

function clicked(event) {
  if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
  else if (event.target.tagName === "DIALOG") event.target.close();
  const alike = event.target.closest("[data-similar]");
  if (alike) return similar(alike.dataset.similar);
  const link = event.target.closest("a[data-open]");
  if (!link) return;
  const chosen = link.closest("#results .tile[data-id]");
  const held = event.ctrlKey || event.metaKey || event.shiftKey;
  if (held && !chosen) return;
  event.preventDefault();
  if (held) toggle(chosen.dataset.id, event.shiftKey);
  else change({ open: link.dataset.open });
}

function show(changes) {
  if ((changes.back || changes.first || "words" in changes) && $("#words").value.trim() !== state.words.trim()) $("#words").value = state.words;
  if (changes.back || changes.first || "filter" in changes) $("#filter").value = state.filter;
  if (state.space) $("#space").value = state.space;
  $("#compare").setAttribute("aria-pressed", String(state.compare));
  document.title = state.words ? `${state.words} · crosscue` : "crosscue";
  chips();
  const asked = JSON.stringify([query(), state.space, state.filter, state.compare]);
  if (asked !== before && (query().length || state.compare)) {
    before = asked;
    if (state.compare) compare();
    else search();
  } else if (!changes.first && (changes.back || $("#results .gains")) && asked !== before) location.reload(); // the server draws the start
  if (state.open && state.open !== currentId()) open(state.open);
  else if (!state.open && (changes.back || "open" in changes)) close();
}
