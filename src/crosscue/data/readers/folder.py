"""A folder of pictures with their sentences beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crosscue.data.pairs import Pairs
from crosscue.data.records import Missing, Row, canonical_split, pairs_of
from crosscue.errors import DataError

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
SPLITS = {"train", "val", "test"}


def read_folder(folder: Path, missing: Missing) -> Pairs:
    """Reads `picture.jpg` with `picture.txt` beside it, one caption a line.

    A top folder called train, val (or validation) or test gives the split; the folder a picture is in, below that, gives
    its category.

    Raises:
        DataError: no pictures, or a picture without its sidecar file.
    """
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not pictures:
        raise DataError(f"{folder}: no pictures here ({', '.join(sorted(PICTURES))}).")

    def rows() -> Iterator[Row]:
        for picture in pictures:
            sidecar = picture.with_suffix(".txt")
            if not sidecar.exists():
                raise DataError(
                    f"{picture}: no caption file {sidecar.name} beside it. Write one caption a line into it, or list the "
                    "pairs in a CSV or JSONL file."
                )
            parts = list(picture.relative_to(folder).parts[:-1])
            split = canonical_split(parts[0]) if parts and canonical_split(parts[0]) in SPLITS else None
            within = parts[1:] if split else parts
            captions = [line for line in sidecar.read_text(encoding="utf-8").splitlines() if line.strip()]
            yield (
                str(sidecar),
                {
                    "image": str(picture.relative_to(folder)),
                    "captions": captions or "",
                    "split": split,
                    "category": within[-1] if within else None,
                },
            )

    return pairs_of(rows(), folder, str(folder), missing=missing)
