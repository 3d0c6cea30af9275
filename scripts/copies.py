"""Measure the differences of images and their copies, beside those of different images.

    python scripts/copies.py '[DATA/flickr8k/images, DATA/coco_mini]' --count 100

The limit of copies (`crosscue.search.grouping.COPY`) is chosen from these tables.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from crosscue.data.images import open_image
from crosscue.data.pairs import ImageFile
from crosscue.markdown import markdown_table
from crosscue.search.grouping import COPY, looks_of

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def main(folders: Sequence[Path], count: int = 100, most: int = 2000) -> None:
    """Print the tables.

    Args:
        folders: folders of images.
        count: images of each that are copied, evenly spaced.
        most: images of each that are compared with one another, evenly spaced.
    """
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        files = list({path.read_bytes(): path for path in files[:: -(-len(files) // most)]}.values())
        looks = np.stack([looks_of(open_image(ImageFile(file))) for file in files]).astype(np.int16)  # (N, 192)
        nearest = np.concatenate([differences(looks[place + 1 :], looks[place]) for place in range(len(looks) - 1)])
        chosen = range(0, len(files), max(len(files) // count, 1))
        rows, found = [], []
        for name, change in CHANGES.items():
            copied = [looks_of(change(open_image(ImageFile(files[place])))) for place in chosen]
            levels = np.abs(np.stack(copied) - looks[list(chosen)]).max(1)
            found.append(float((levels <= COPY).mean()))
            rows.append([name, *(f"{np.quantile(levels, q):.0f}" for q in (0.5, 0.95, 1)), f"{100 * found[-1]:.0f} %"])
        wrong, right = int((nearest <= COPY).sum()), float(np.mean(found[:AGAIN])) * len(files)
        print(
            f"{folder.name}: {len(files)} images; {wrong} pairs of different files are within {COPY} levels, the nearest ",
            end="",
        )
        print(f"{np.sort(nearest)[:8].tolist()}; precision with one copy of each {right / max(right + wrong, 1):.3f}")
        print(markdown_table(["levels between an image and", "median", "95 %", "most", f"at most {COPY}"], rows))


def differences(looks: np.ndarray, one: np.ndarray) -> np.ndarray:
    return np.abs(looks - one).max(1)


def saved(kind: str, quality: int, scale: float = 1) -> Callable[[Image.Image], Image.Image]:
    """Return the change of an image by scaling and saving."""

    def change(image: Image.Image) -> Image.Image:
        held = io.BytesIO()
        scaled(scale)(image).save(held, kind, quality=quality)
        return Image.open(held).convert("RGB")

    return change


def scaled(scale: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize(
        (max(round(image.width * scale), 8), max(round(image.height * scale), 8)), Image.Resampling.LANCZOS
    )


def cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        left, top = round(image.width * share), round(image.height * share)
        return image.crop((left, top, image.width - left, image.height - top))

    return change


CHANGES = {
    "JPEG, quality 80": saved("JPEG", 80),
    "JPEG, quality 50": saved("JPEG", 50),
    "JPEG, quality 25": saved("JPEG", 25),
    "WebP, quality 70": saved("WEBP", 70),
    "twice the size": scaled(2),
    "half the size": scaled(0.5),
    "half the size, JPEG 60": saved("JPEG", 60, 0.5),
    "a third of the size, JPEG 60": saved("JPEG", 60, 0.34),
    "3 % cut off each side": cropped(0.03),
    "5 % cut off each side": cropped(0.05),
}
AGAIN = 8
"""Changes that make copies; the others cut the image."""

if __name__ == "__main__":
    auto_cli(main, as_positional=True)
