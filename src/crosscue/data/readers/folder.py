"""A folder of images with their captions beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from crosscue.data.pairs import Pairs
from crosscue.data.readers.contract import Reader, Reading
from crosscue.data.records import Row, canonical_split, pairs_of
from crosscue.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
"""Endings of the names of image files."""
SPLITS = {"train", "val", "test"}


def read_folder(folder: Path, reading: Reading) -> Pairs:
    """Reads `image.jpg` with `image.txt` beside it, one caption a line.

    A top folder called train, val (or validation) or test gives the split; below that, the folder of an image gives
    its category.

    Raises:
        DataError: no images, or an image without its caption file.
    """
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        raise DataError(
            f"{folder}: no images here ({', '.join(sorted(SUFFIXES))}). Give the folder that contains them."
        )

    def rows() -> Iterator[Row]:
        for image in images:
            sidecar = image.with_suffix(".txt")
            if not sidecar.exists():
                raise DataError(
                    f"{image}: no caption file {sidecar.name} beside it. Write one caption a line into it, or list the "
                    "pairs in a CSV or JSONL file."
                )
            parts = list(image.relative_to(folder).parts[:-1])
            split = canonical_split(parts[0]) if parts and canonical_split(parts[0]) in SPLITS else None
            within = parts[1:] if split else parts
            captions = [line for line in sidecar.read_text(encoding="utf-8").splitlines() if line.strip()]
            yield (
                str(sidecar),
                {
                    "image": str(image.relative_to(folder)),
                    "captions": captions or "",
                    "split": split,
                    "category": within[-1] if within else None,
                },
            )

    return pairs_of(rows(), folder, replace(reading, images=None))


FOLDER = Reader("folder", Path.is_dir, read_folder)
