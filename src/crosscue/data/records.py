"""From a row of any table to a pair: which column is which, what may be missing, what a message says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from crosscue.data.pairs import EmbeddedImage, Image, ImageFile, Negative, NegativeType, Pair, Pairs
from crosscue.errors import DataError

Missing = Literal["error", "skip", "keep"]
"""What to do with a row whose picture file does not exist; `keep` is for work on the text alone."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("image", "file_name", "filename", "filepath", "file_path", "image_path", "path", "img", "jpg", "png"),
    "captions": ("captions", "caption", "text", "sentence", "sentences", "description", "txt"),
    "image_id": ("image_id", "id", "imgid", "key"),
    "category": ("category", "class_name", "class", "label_name"),
    "negatives": ("negatives", "negative", "hard_negatives"),
    "synthetic": ("synthetic", "synthetic_caption", "draft", "drafts"),
    "split": ("split", "set", "subset"),
}
"""What a pair needs -> the column names it goes by, best first."""

Row = tuple[str, Mapping[str, Any]]
"""Where the row is (file and line), and its values."""


def pairs_of(rows: Iterable[Row], images: Path, source: str, *, missing: Missing = "error") -> Pairs:
    """Turns rows into pairs; rows of one picture become one pair with several captions.

    Args:
        rows: the table.
        images: folder that relative picture paths start from.
        source: name for messages.
        missing: what to do where a picture file does not exist.

    Raises:
        DataError: a missing column, an empty caption, a missing picture; the message names file and row.
    """
    found: dict[str, Pair] = {}
    for where, row in rows:
        pair = pair_of(where, row, images)
        if missing != "keep" and isinstance(pair.image, ImageFile) and not pair.image.path.exists():
            if missing == "skip":
                continue
            raise DataError(
                f"{where}: there is no picture {pair.image.path}. Correct the path, give the folder with --images, or leave "
                "such rows out with --missing skip."
            )
        known = found.get(pair.image_id)
        if known is None:
            found[pair.image_id] = pair
        elif known.split != pair.split or known.category != pair.category:
            raise DataError(
                f"{where}: picture '{pair.image_id}' is here in split {pair.split} and category {pair.category}, "
                f"and in {known.where} in split {known.split} and category {known.category}. Make the rows agree."
            )
        else:
            merged = dict.fromkeys((*known.captions, *pair.captions))
            found[pair.image_id] = replace(
                known,
                captions=tuple(merged),
                negatives=tuple(dict.fromkeys((*known.negatives, *pair.negatives))),
                synthetic=known.synthetic or pair.synthetic,
            )
    if not found:
        raise DataError(f"{source}: no pairs found. A row needs a picture and a caption.")
    return Pairs(found.values(), source)


def pair_of(where: str, row: Mapping[str, Any], images: Path) -> Pair:
    """Turns one row into a pair.

    Raises:
        DataError: no picture or caption column, or an empty caption.
    """
    value = _required(where, row, "image")
    image = image_of(where, value, images)
    captions = texts_of(where, _required(where, row, "captions"))
    for number, caption in enumerate(captions, 1):
        if not caption.strip():
            place = f"caption {number}" if len(captions) > 1 else "the caption"
            raise DataError(f"{where}: {place} is empty. Write one, or remove the row.")
    if not captions:
        raise DataError(f"{where}: there is no caption. Write one, or remove the row.")
    identity = _optional(row, "image_id")
    category, split, negatives, synthetic = (
        _optional(row, name) for name in ("category", "split", "negatives", "synthetic")
    )
    return Pair(
        image=image,
        captions=tuple(captions),
        image_id=str(identity) if identity is not None else _identity(value, image),
        category=str(category) if category is not None else None,
        negatives=negatives_of(where, negatives) if negatives is not None else (),
        synthetic=next((text for text in texts_of(where, synthetic) if text.strip()), None)
        if synthetic is not None
        else None,
        split=canonical_split(str(split)) if split is not None else None,
        where=where,
    )


def image_of(where: str, value: Any, images: Path) -> Image:
    """Turns a path, or the bytes of an encoded picture, into an image."""
    if isinstance(value, str | Path):
        return ImageFile(images / value)
    if isinstance(value, Mapping):
        if value.get("bytes"):
            return EmbeddedImage(str(value.get("path") or where), _constant(value["bytes"]))
        if value.get("path"):
            return ImageFile(images / str(value["path"]))
    if isinstance(value, bytes):
        return EmbeddedImage(where, _constant(value))
    raise DataError(f"{where}: the picture is neither a path nor encoded bytes but {type(value).__name__}.")


def negatives_of(where: str, value: Any) -> tuple[Negative, ...]:
    """Returns negatives from sentences (then they are of another category) or records {"text", "type", "from", "to"}.

    Raises:
        DataError: a record has no text or an unknown type.
    """
    items = json.loads(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    records = [items] if isinstance(items, str | Mapping) else list(items)
    found = []
    for number, item in enumerate(records, 1):
        record = item if isinstance(item, Mapping) else {"text": item}
        text = str(record.get("text") or "")
        kind: Any = record.get("type") or "category"
        if kind not in get_args(NegativeType) or (isinstance(item, Mapping) and not text.strip()):
            raise DataError(
                f"{where}: negative {number} must be a sentence or {{text, type}} with type {' or '.join(get_args(NegativeType))}."
            )
        if text.strip():
            found.append(Negative(text, kind, record.get("from"), record.get("to")))
    return tuple(found)


def texts_of(where: str, value: Any) -> list[str]:
    """Returns sentences from a string, a JSON list in a string, a list, or a list of {"raw": ...} or {"text": ...}."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except json.JSONDecodeError:
                return [value]
        else:
            return [value]
    if isinstance(value, Mapping):
        value = [value]
    try:
        items = list(value)
    except TypeError as error:
        raise DataError(f"{where}: a caption must be text or a list of texts, not {type(value).__name__}.") from error
    return ["" if item is None else str(_worded(item)) for item in items]


def _worded(item: Any) -> Any:
    """Returns what a record of a sentence says."""
    return item["raw" if "raw" in item else "text"] if isinstance(item, Mapping) else item


def canonical_split(name: str) -> str:
    """Returns `val` for validation and dev, `train` for training; other names as they are."""
    lowered = name.strip().lower()
    return {"validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test"}.get(
        lowered, lowered
    )


def _required(where: str, row: Mapping[str, Any], name: str) -> Any:
    column = next((column for column in COLUMNS[name] if column in row), None)
    if column is None:
        what = "picture" if name == "image" else "caption"
        raise DataError(
            f"{where}: no {what} column. Columns found: {', '.join(map(str, row)) or 'none'}. "
            f"Name one of them: {', '.join(COLUMNS[name])}."
        )
    if _absent(row[column]):
        raise DataError(f"{where}: column '{column}' is empty. Fill it, or remove the row.")
    return row[column]


def _optional(row: Mapping[str, Any], name: str) -> Any:
    value = next((row[column] for column in COLUMNS[name] if column in row), None)
    return None if _absent(value) else value


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _identity(value: Any, image: Image) -> str:
    return str(value) if isinstance(value, str | Path) else image.name


def _constant(value: bytes) -> Callable[[], bytes]:
    return lambda: value
