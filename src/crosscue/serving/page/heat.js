// The places of an image that moved its score: red adds, blue takes away. Drawn as a smooth map over the image.

import { $ } from "./elements.js";

export function drawHeat(places) {
  const canvas = $("#heat");
  const [rows, columns] = [places.length, places[0].length];
  const most = Math.max(...places.flat().map(Math.abs), 1e-9);
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows];
  const paint = small.getContext("2d");
  const pixels = paint.createImageData(columns, rows);
  places.flat().forEach((value, place) => {
    const strength = Math.sqrt(Math.abs(value) / most);
    pixels.data.set(value > 0 ? [255, 60, 20, 255 * strength * 0.8] : [20, 90, 255, 255 * strength * 0.8], place * 4);
  });
  paint.putImageData(pixels, 0, 0);
  const { left, top, side } = square($("#large"));
  [canvas.width, canvas.height] = [side, side];
  Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${side}px`, height: `${side}px` });
  const large = canvas.getContext("2d");
  large.imageSmoothingQuality = "high";
  large.drawImage(small, 0, 0, side, side);
  canvas.hidden = false;
  $("#opacity").hidden = false;
}

// The model reads the centre square of an image; the map covers that part.
function square(image) {
  const box = image.getBoundingClientRect();
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  const side = Math.round(Math.min(width, height));
  return { left: (box.width - side) / 2, top: (box.height - side) / 2, side };
}

export function clearHeat() {
  $("#heat").hidden = true;
  $("#opacity").hidden = true;
}

$("#opacity input").addEventListener("input", (event) => ($("#heat").style.opacity = event.target.value / 100));
