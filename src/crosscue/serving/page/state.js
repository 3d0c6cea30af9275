// The state of the page is its address: terms, space, filter, comparison and the open image.
// A term is {weight, text} or {weight, id} or {weight, image}; dropped images have no address, so they live here alone.

const listeners = [];
export const state = { words: "", terms: [], space: "", filter: "", compare: false, open: "" };

export function read() {
  const address = new URLSearchParams(location.search);
  state.words = address.get("q") ?? "";
  state.space = address.get("space") ?? document.querySelector("#space")?.value ?? "";
  state.filter = address.get("filter") ?? "";
  state.compare = address.get("compare") === "1";
  state.open = address.get("open") ?? "";
  const dropped = state.terms.filter((term) => term.image);
  state.terms = address.getAll("t").map(termOf).filter(Boolean).concat(dropped);
}

function termOf(written) {
  const found = /^(-?[\d.]+):(@)?(.*)$/s.exec(written);
  if (!found) return null;
  const weight = Number(found[1]) || 1;
  return found[2] ? { weight, id: found[3] } : { weight, text: found[3] };
}

export function address() {
  const parts = new URLSearchParams();
  if (state.words) parts.set("q", state.words);
  for (const term of state.terms) {
    if (term.id) parts.append("t", `${term.weight}:@${term.id}`);
    else if (term.text) parts.append("t", `${term.weight}:${term.text}`);
  }
  if (state.space) parts.set("space", state.space);
  if (state.filter) parts.set("filter", state.filter);
  if (state.compare) parts.set("compare", "1");
  if (state.open) parts.set("open", state.open);
  return `?${parts}`;
}

export function change(changes, { push = true } = {}) {
  Object.assign(state, changes);
  const url = address();
  if (url !== location.search) history[push ? "pushState" : "replaceState"](null, "", url);
  for (const listener of listeners) listener(changes);
}

export function onChange(listener) {
  listeners.push(listener);
}

export function query() {
  const terms = state.terms.map((term) => ({ ...term }));
  if (state.words.trim()) terms.unshift({ weight: 1, text: state.words.trim() });
  return terms;
}

window.addEventListener("popstate", () => {
  read();
  for (const listener of listeners) listener({ back: true });
});
