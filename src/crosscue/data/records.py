"""From a row of any table to a pair: names of columns, missing values, messages."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from crosscue.data.features import is_bank, open_bank
from crosscue.data.pairs import EmbeddedImage, Image, ImageFile, Negative, NegativeType, Pair, Pairs
from crosscue.data.readers.contract import Missing, Reading
from crosscue.errors import DataError

COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("image", "file_name", "filename", "filepath", "file_path", "image_path", "path", "img", "jpg", "png"),
    "captions": ("captions", "caption", "text", "sentence", "sentences", "description", "txt"),
    "image_id": ("image_id", "id", "imgid", "key"),
    "category": ("category", "class_name", "class", "label_name"),
    "negatives": ("negatives", "negative", "hard_negatives"),
    "synthetic": ("synthetic", "synthetic_caption", "draft", "drafts"),
    "split": ("split", "set", "subset"),
}
"""Field of a pair -> names of its column, best first."""

Row = tuple[str, Mapping[str, Any]]
"""File and line, and the values."""


def pairs_of(rows: Iterable[Row], path: Path, reading: Reading) -> Pairs:
    """Returns the pairs of rows; rows of one image become one pair with several captions.

    Args:
        rows: the table.
        path: the file or folder that it is read from; relative paths of images start there.
        reading: another start of the paths, and the treatment of rows whose image file does not exist.

    Raises:
        DataError: a missing column, an empty caption, a missing image; the message names file and row.
    """
    found: dict[str, Pair] = {}
    for where, row in rows:
        pair = pair_of(where, row, reading.images_beside(path))
        if not usable(pair, str(path), reading.missing):
            continue
        known = found.get(pair.image_id)
        if known is None:
            found[pair.image_id] = pair
        elif known.split != pair.split or known.category != pair.category:
            raise DataError(
                f"{where}: image '{pair.image_id}' is here in split {pair.split} and category {pair.category}, "
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
        raise DataError(f"{path}: no pairs found. A row needs an image and a caption.")
    return Pairs(found.values(), str(path))


def usable(pair: Pair, source: str, missing: Missing) -> bool:
    """Returns False for a pair to leave out, because its image file does not exist.

    Raises:
        DataError: it does not exist, and `missing` is error.
    """
    if missing == "keep" or not isinstance(pair.image, ImageFile) or pair.image.path.exists():
        return True
    if missing == "skip":
        return False
    raise DataError(
        f"{pair.where}: there is no image {pair.image.path}. Correct the path, give the folder with --images, or leave "
        f"such rows out: crosscue data check {shlex.quote(source)} --missing skip"
    )


def pair_of(where: str, row: Mapping[str, Any], images: Path) -> Pair:
    """Returns the pair of one row.

    Raises:
        DataError: no image or caption column, or an empty caption.
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
        image_id=str(identity)
        if identity is not None
        else str(value)
        if isinstance(value, str | Path | int)
        else image.name,
        category=str(category) if category is not None else None,
        negatives=negatives_of(where, negatives) if negatives is not None else (),
        synthetic=next((text for text in texts_of(where, synthetic) if text.strip()), None)
        if synthetic is not None
        else None,
        split=canonical_split(str(split)) if split is not None else None,
        where=where,
    )


def image_of(where: str, value: Any, images: Path) -> Image:
    """Returns the image of a path, of the bytes of an encoded image, or of a row of features (`bank.npy#12`)."""
    if isinstance(value, str | Path | int):
        bank, _, key = str(value).partition("#")
        if not key or not is_bank(bank):
            return ImageFile(images / str(value))
        rows = open_bank(images / bank)
        return rows.at(where, int(key)) if key.isdecimal() else rows.named(where, key)
    if isinstance(value, Mapping):
        if value.get("bytes"):
            return EmbeddedImage(str(value.get("path") or where), _constant(value["bytes"]))
        if value.get("path"):
            return ImageFile(images / str(value["path"]))
    if isinstance(value, bytes):
        return EmbeddedImage(where, _constant(value))
    raise DataError(f"{where}: the image is neither a path nor encoded bytes but {type(value).__name__}.")


def negatives_of(where: str, value: Any) -> tuple[Negative, ...]:
    """Returns negatives from texts (then of another category) or records {"text", "type", "from", "to"}.

    Raises:
        DataError: a record has no text or an unknown type.
    """
    found = []
    for number, item in enumerate(_items(where, "negative", value), 1):
        record = item if isinstance(item, Mapping) else {"text": item}
        text = str(record.get("text") or "")
        kind: Any = record.get("type") or "category"
        if kind not in get_args(NegativeType) or (isinstance(item, Mapping) and not text.strip()):
            raise DataError(
                f"{where}: negative {number} must be a text or {{text, type}} with type {' or '.join(get_args(NegativeType))}."
            )
        if text.strip():
            found.append(Negative(text, kind, record.get("from"), record.get("to")))
    return tuple(found)


def texts_of(where: str, value: Any) -> list[str]:
    """Returns texts from a string, a JSON list in a string, a list, or a list of {"raw": ...} or {"text": ...}."""
    texts = (
        item.get("raw", item.get("text")) if isinstance(item, Mapping) else item
        for item in _items(where, "caption", value)
    )
    return ["" if text is None else str(text) for text in texts]


def _items(where: str, name: str, value: Any) -> list[Any]:
    """Returns the items of a list, of a JSON list in a string, or a text or record as the only item."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
    if isinstance(value, str | Mapping):
        return [value]
    if not isinstance(value, Iterable):
        raise DataError(f"{where}: a {name} must be text or a list of texts, not {type(value).__name__}.")
    return list(value)


def canonical_split(name: str) -> str:
    """Returns `val` for validation and dev, `train` for training; other names as they are."""
    lowered = name.strip().lower()
    return {"validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test"}.get(
        lowered, lowered
    )


def _required(where: str, row: Mapping[str, Any], name: str) -> Any:
    column = next((column for column in COLUMNS[name] if column in row), None)
    if column is None:
        what = "image" if name == "image" else "caption"
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


def _constant(value: bytes) -> Callable[[], bytes]:
    return lambda: value
