// The keyboard: every action of the page has a key.

import { $ } from "./elements.js";
import { close, currentId, step, why } from "./detail.js";
import { focusTile, tiles } from "./grid.js";
import { mark } from "./labels.js";
import { anySelected, clear, selectAll, toggle } from "./select.js";
import { change, state } from "./state.js";
import { withTerms } from "./search.js";

const typing = () => document.activeElement?.matches("input, textarea, select");
const focused = () => currentId() ?? document.activeElement?.closest?.(".tile")?.dataset.id ?? null;

function move(event) {
  if (currentId()) return step(event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 1);
  const all = tiles();
  const here = all.findIndex((item) => item.contains(document.activeElement));
  if (here < 0) return all[0] && focusTile(all[0].dataset.id);
  const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const next = sideways ? all[here + sideways] : vertical(all, here, event.key === "ArrowDown");
  if (next) {
    focusTile(next.dataset.id);
    next.scrollIntoView({ block: "nearest" });
  }
}

function vertical(all, here, down) {
  const from = all[here].getBoundingClientRect();
  const middle = from.left + from.width / 2;
  const rows = all.map((item) => ({ item, box: item.getBoundingClientRect() })).filter(({ box }) => (down ? box.top > from.top + 5 : box.top < from.top - 5));
  const nearest = down ? Math.min(...rows.map(({ box }) => box.top)) : Math.max(...rows.map(({ box }) => box.top));
  const off = ({ box }) => Math.abs(box.left + box.width / 2 - middle);
  return rows.filter(({ box }) => Math.abs(box.top - nearest) < 5).sort((a, b) => off(a) - off(b))[0]?.item;
}

const withImage = (action) => () => focused() && action(focused());
const keys = {
  "/": () => $("#words").focus(),
  Enter: withImage((id) => change({ open: id })),
  " ": (event) => focused() && toggle(focused(), event.shiftKey),
  s: withImage((id) => similar(id)),
  w: () => why(),
  r: withImage((id) => mark([id], true)),
  x: withImage((id) => mark([id], false)),
  c: () => !$("#compare").hidden && change({ compare: !state.compare }),
  "?": () => $("#keys").showModal(),
};
for (const arrow of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]) keys[arrow] = move;

export function similar(id) {
  close();
  $("#words").value = "";
  change({ words: "", open: "", terms: [{ weight: 1, id }] });
}

window.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (typing()) document.activeElement.blur();
    else if (anySelected()) clear();
    else if (state.compare) change({ compare: false });
    return;
  }
  if (typing()) {
    if (event.key === "ArrowDown" && document.activeElement.id === "words" && tiles().length) {
      event.preventDefault();
      focusTile(tiles()[0].dataset.id);
    }
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "a") {
    event.preventDefault();
    selectAll();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  if (document.activeElement?.matches("button") && [" ", "Enter"].includes(event.key)) return;
  event.preventDefault();
  keys[event.key](event);
});
