// Images that enter the box: dropped, pasted, chosen, or dragged from the results.

import { $, problem } from "./elements.js";
import { withTerms } from "./search.js";

const SIDE = 1024;

export async function add(file) {
  if (!file.type.startsWith("image/")) return problem("That is no image. Drop a JPEG, PNG or WebP file.");
  try {
    const image = await scaled(file);
    withTerms((terms) => terms.push({ weight: 1, image }));
  } catch {
    problem("That image cannot be read.");
  }
}

async function scaled(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const paint = canvas.getContext("2d");
  paint.fillStyle = "#fff";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

let depth = 0;
window.addEventListener("dragenter", () => document.body.classList.toggle("dropping", ++depth > 0));
window.addEventListener("dragleave", () => document.body.classList.toggle("dropping", --depth > 0));
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dropping");
  const id = event.dataTransfer.getData("application/x-crosscue-id");
  if (id) withTerms((terms) => terms.push({ weight: 1, id }));
  else for (const file of event.dataTransfer.files) add(file);
});
window.addEventListener("paste", (event) => {
  for (const item of event.clipboardData?.files ?? []) add(item);
});
$("#file").addEventListener("change", (event) => {
  for (const file of event.target.files) add(file);
  event.target.value = "";
});
