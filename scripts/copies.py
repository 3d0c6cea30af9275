"""Measure the cosine of images with their copies, beside the nearest other image.

    python scripts/copies.py zero_shot DATA/flickr8k --count 100

The threshold of copies (`crosscue.search.grouping.COPY`) is chosen from this table.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from crosscue.api import as_run
from crosscue.data.images import open_image
from crosscue.data.sources import Reading, read_pairs
from crosscue.markdown import markdown_table
from crosscue.search.grouping import COPY


def main(run: str, data: str, split: str = "val", count: int = 100, image_size: int | None = None) -> None:
    """Print the table.

    Args:
        run: run folder, or a method without training.
        data: source of pairs.
        split: split whose images are copied; the threshold is no choice on test data.
        count: number of images, evenly spaced.
        image_size: side of the input image, for a method.
    """
    model, pairs = as_run(run, image_size=image_size), read_pairs(data, reading=Reading(missing="skip")).split(split)
    images = [open_image(pair.image) for pair in pairs[:: max(len(pairs) // count, 1)]]
    first = model.encode_image([np.asarray(image) for image in images])
    others = first @ first.T
    others.fill_diagonal_(-1)
    columns = {"nearest other image": others.max(1).values}
    for name, change in CHANGES.items():
        columns[name] = (first * model.encode_image([np.asarray(change(image)) for image in images])).sum(1)
    rows = [
        [
            name,
            *(f"{float(cosines.quantile(q)):.3f}" for q in (0.05, 0.5, 0.95)),
            f"{100 * float((cosines >= COPY).float().mean()):.0f} %",
        ]
        for name, cosines in columns.items()
    ]
    print(f"{len(images)} images")
    print(markdown_table(["cosine with", "lowest 5 %", "median", "highest 5 %", f"at least {COPY}"], rows))


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Return the change of an image by JPEG of a quality."""

    def change(image: Image.Image) -> Image.Image:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=quality)
        return Image.open(held).convert("RGB")

    return change


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def cropped(image: Image.Image) -> Image.Image:
    left, top = image.width // 20, image.height // 20
    return image.crop((left, top, image.width - left, image.height - top))


CHANGES = {
    "JPEG, quality 80": jpeg(80),
    "JPEG, quality 50": jpeg(50),
    "half the size": half,
    "5 % cut off each side": cropped,
}

if __name__ == "__main__":
    auto_cli(main, as_positional=True)
