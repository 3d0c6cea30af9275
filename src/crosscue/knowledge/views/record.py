"""Views of an image: three descriptions, and their file for the images of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosscue.errors import DataError
from crosscue.knowledge.store import KnowledgeStore

KEYS = ("global", "background", "entity")


@dataclass(frozen=True, slots=True)
class Views:
    """Three descriptions of one image."""

    overall: str
    """The image as a whole; `global` in files."""
    background: str
    entity: str
    """The things in the image."""
    source: str
    """Writer: the name of a model, `captions` if they were taken from the captions, or `unread captions` if they repeat them."""
    repeated: tuple[str, ...] = ()
    """Keys of the views that are the first caption, because spaCy found no place or no noun in any."""


class ViewKnowledge(KnowledgeStore[Views]):
    """Image id -> its views."""

    FILE = "views.jsonl"
    MISSING = "images have no views"
    REMEDY = "crosscue describe views SOURCE --out FILE.jsonl (--backend captions needs no model but crosscue[spacy])"

    @staticmethod
    def row(key: str, known: Views) -> dict[str, Any]:
        """See `KnowledgeStore.row`."""
        texts = dict(zip(KEYS, (known.overall, known.background, known.entity), strict=True))
        repeated = {"repeated": list(known.repeated)} if known.repeated else {}
        return {"image_id": key, "views": texts, "source": known.source, **repeated}

    @staticmethod
    def from_row(where: str, row: Mapping[str, Any]) -> tuple[str, Views]:
        """See `KnowledgeStore.from_row`."""
        texts = row.get("views")
        if not isinstance(texts, dict) or set(texts) != set(KEYS):
            found = ", ".join(map(str, texts)) if isinstance(texts, dict) else "none"
            raise DataError(f"{where}: views must have exactly the keys {', '.join(KEYS)}; found {found or 'none'}.")
        empty = [key for key in KEYS if not isinstance(texts[key], str) or not texts[key].strip()]
        if empty:
            raise DataError(f"{where}: the view '{empty[0]}' is empty. Write it, or remove the line and make it again.")
        again = row.get("repeated") or []
        if "image_id" not in row or "source" not in row or not isinstance(again, list):
            raise DataError(
                f"{where}: needs image_id, views and source. Make the file again with crosscue describe views."
            )
        overall, background, entity = (texts[key] for key in KEYS)
        repeated = tuple(map(str, again))
        return str(row["image_id"]), Views(overall, background, entity, str(row["source"]), repeated)

    def repeated(self) -> dict[str, int]:
        """Returns key of a view -> number of images where it is the first caption."""
        return dict(Counter(key for views in self.values() for key in views.repeated))
