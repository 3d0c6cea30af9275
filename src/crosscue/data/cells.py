"""Values inside a row: texts, negatives, categories and images."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from crosscue.data.columns import absent, listed
from crosscue.data.features import is_bank, open_bank
from crosscue.data.locations import Locations, is_file
from crosscue.data.pairs import EmbeddedImage, Image, ImageFile, Negative, NegativeType
from crosscue.errors import DataError

TEXT_KEYS = ("raw", "text", "caption", "sentence", "description")
"""Keys of the text in a record, best first."""
LITERAL = re.compile(r"""\s*(?:('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?:nan|None|null|NaN|<NA>))\s*(?:,|(?=[\]'"]))""")
"""One item of a list as Python prints it, with or without a comma behind it, as NumPy prints it."""


def image_of(where: str, value: Any, folder: Locations) -> Image:
    """Returns the image of a path, of the bytes of an encoded image, or of a row of features (`bank.npy#12`).

    Raises:
        DataError: it is none of them, or the bank has no such row.
    """
    name = None
    if isinstance(value, Mapping):
        content, name = value.get("bytes"), value.get("path")
        value = name if content is None else content if isinstance(content, bytes) else [content]
    if isinstance(value, EmbeddedImage):
        return value
    if isinstance(value, bytes):
        return EmbeddedImage(str(name or where), lambda: value, content_identity(value, name))
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise DataError(f"{where}: the image is neither a path nor encoded bytes but {type(value).__name__}.")
    bank, _, key = str(value).partition("#")
    if not key or not is_bank(bank) or is_file(folder.folder / str(value)):
        return ImageFile(folder.place(readable(where, "image", str(value))))
    rows = open_bank(folder.place(readable(where, "image", bank)))
    return rows.at(where, int(key)) if key.isdecimal() and len(key) < 19 else rows.named(where, key)


def content_identity(encoded: bytes, path: object) -> str:
    """Returns the identity of an image inside a table: its bytes, and its file name if it has one."""
    return f"{hashlib.sha256(encoded).hexdigest()} {path or ''}"


def negatives_of(where: str, value: Any) -> tuple[Negative, ...]:
    """Returns negatives from texts (then of another category) or records {"text", "type", "from", "to"}.

    Raises:
        DataError: a record has no text or an unknown type.
    """
    found = []
    for number, item in enumerate(items(where, "negative", value), 1):
        record: Mapping[str, Any] = item if isinstance(item, Mapping) else {"text": item}
        text: Any
        kind: Any
        text, kind = record.get("text"), record.get("type") or "category"
        if kind not in get_args(NegativeType) or not (isinstance(text, str) or absent(text)):
            text = None
        if not isinstance(text, str) or not text.strip():
            if absent(item) or (isinstance(item, str) and not item.strip()):
                continue
            raise DataError(
                f"{where}: negative {number} must be a text or {{text, type}} with type {' or '.join(get_args(NegativeType))}."
            )
        words = [
            "" if (word := record.get(name)) == "" else scalar(where, f"negative {number}", word)
            for name in ("from", "to")
        ]
        found.append(Negative(readable(where, f"negative {number}", text), kind, *words))
    return tuple(found)


def texts_of(where: str, value: Any, name: str = "caption") -> list[str]:
    """Returns texts from a string, a list in a string, a list, or a list of {"raw": ...} or {"text": ...}.

    A missing value inside a list is an empty text. A list inside a list is flattened.

    Raises:
        DataError: an item is neither a text nor a record with a text.
    """
    texts: list[str] = []
    for number, item in enumerate(items(where, name, value), 1):
        if isinstance(item, Mapping):
            key = next((key for key in TEXT_KEYS if key in item), None)
            if key is None:
                raise DataError(
                    f"{where}: {name} {number} is a record without a text. Keys found: {listed(item)}. "
                    f"Name one of them: {', '.join(TEXT_KEYS)}."
                )
            item = item[key]
        within = item if isinstance(item, list | tuple) else [item]
        for text in within:
            if not isinstance(text, str) and not absent(text):
                raise DataError(f"{where}: {name} {number} is {type(text).__name__}, not a text. Write it as a text.")
            texts.append(readable(where, f"{name} {number}", text) if isinstance(text, str) else "")
    return texts


def items(where: str, name: str, value: Any) -> list[Any]:
    """Returns the items of a list, of a list that is written in a string, or a text or record as the only item."""
    if isinstance(value, str):
        listing = written_list(value)
        value = value if listing is None else listing
    if isinstance(value, str | Mapping):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise DataError(f"{where}: a {name} must be text or a list of texts, not {type(value).__name__}.")
    return list(value)


def written_list(text: str) -> list[Any] | None:
    """Returns the items of a list that JSON, Python or NumPy wrote into a cell; None for any other text."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        texts = all(isinstance(item, str | Mapping | list) or absent(item) for item in found)
        return found if texts else None
    place, found = 1, list[Any]()
    while place < len(text) - 1:
        item = LITERAL.match(text, place)
        if item is None:
            return None
        with contextlib.suppress(SyntaxError, ValueError):
            found.append(ast.literal_eval(item[1]) if item[1] else None)
        place = item.end()
    return found or None


def scalar(where: str, name: str, value: Any) -> str | None:
    """Returns a text or number as a text without spaces around it, and None for a missing value.

    Raises:
        DataError: it is a list or a record.
    """
    if absent(value):
        return None
    if not isinstance(value, str | int | float):
        raise DataError(f"{where}: the {name} must be a text, not {type(value).__name__}.")
    return readable(where, name, str(value)).strip() or None


def readable(where: str, name: str, text: str) -> str:
    """Returns a text that can be written; raises `DataError` for half a character (a lone surrogate) or a zero byte."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise DataError(
                f"{where}: {name} contains half a character ({half}, a lone surrogate). Write the whole one, or remove it."
            ) from error
    if "\0" in text:
        raise DataError(f"{where}: {name} contains a zero byte. Remove it.")
    return text
