"""Pairs as a JSONL file, which every verb reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crosscue.data.features import FeatureRow
from crosscue.data.pairs import EmbeddedImage, Pair
from crosscue.errors import DataError
from crosscue.storage import write_lines


def write_pairs(target: Path, pairs: Iterable[Pair]) -> int:
    """Writes one pair a line, atomically; the paths of images are relative to the file. Returns the number of pairs.

    Raises:
        DataError: an image is inside a table, so no path leads to it.
    """
    folder = target.parent.resolve()
    rows = [row_of(pair, _place(pair, folder)) for pair in pairs]
    write_lines(target, rows)
    return len(rows)


def row_of(pair: Pair, image: str) -> dict[str, Any]:
    """Returns a pair as a row of a pairs file, with `image` as its path."""
    row = {
        "image": image,
        "image_id": pair.image_id,
        "captions": list(pair.captions),
        "category": pair.category,
        "negatives": [negative.to_dict() for negative in pair.negatives] or None,
        "split": pair.split,
        "synthetic": pair.synthetic,
    }
    return {name: value for name, value in row.items() if value is not None}


def _place(pair: Pair, folder: Path) -> str:
    image = pair.image
    if isinstance(image, EmbeddedImage):
        raise DataError(
            f"{pair.where}: the image is inside a table, and a JSONL file can only name files. Save the images of this "
            "source as files first."
        )
    path, row = (image.bank.path, f"#{image.row}") if isinstance(image, FeatureRow) else (image.path, "")
    return Path(os.path.relpath(path.resolve(), folder)).as_posix() + row
