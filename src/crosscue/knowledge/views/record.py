"""Three descriptions of one picture, and the file that keeps them for the pictures of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscue.errors import DataError
from crosscue.knowledge.jsonl import fingerprint_of, read_lines, write_lines

FILE = "views.jsonl"
"""Name of the file in an output folder."""
KEYS = ("global", "background", "entity")


@dataclass(frozen=True, slots=True)
class Views:
    """One picture in words, three times."""

    overall: str
    """The picture as a whole; `global` in files."""
    background: str
    entity: str
    """The things in the picture."""
    source: str
    """Who wrote it: a model's name, or `captions` where they were taken from the captions without a model."""


class ViewKnowledge(Mapping[str, Views]):
    """Image id -> its views."""

    def __init__(self, known: Mapping[str, Views]) -> None:
        self.known = dict(known)

    def __getitem__(self, image_id: str) -> Views:
        return self.known[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    @classmethod
    def load(cls, path: Path | str) -> ViewKnowledge:
        """Reads a file that `save` wrote, or the `views.jsonl` of a folder.

        Raises:
            DataError: it cannot be read; a line's views are not exactly global, background and entity; one is empty.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        return cls(dict(_from_row(where, row) for where, row in read_lines(file)))

    def save(self, path: Path | str) -> None:
        """Writes one JSON object a picture, atomically."""
        write_lines(Path(path), self._rows())

    def fingerprint(self) -> str:
        """Returns a SHA-256 over all pictures' views."""
        return fingerprint_of(self._rows())

    def require(self, image_ids: Iterable[str]) -> None:
        """Does nothing when every picture has views.

        Raises:
            DataError: some have none; the message says how many, and the command that makes them.
        """
        wanted = dict.fromkeys(image_ids)
        missing = [image_id for image_id in wanted if image_id not in self.known]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(wanted):,} pictures have no views, e.g. '{missing[0]}'. Make them: "
                "crosscue describe views SOURCE --out FILE.jsonl (--backend captions needs no model)."
            )

    def _rows(self) -> Iterator[dict[str, Any]]:
        for image_id, views in self.known.items():
            texts = dict(zip(KEYS, (views.overall, views.background, views.entity), strict=True))
            yield {"image_id": image_id, "views": texts, "source": views.source}


def _from_row(where: str, row: Mapping[str, Any]) -> tuple[str, Views]:
    texts = row.get("views")
    if not isinstance(texts, dict) or set(texts) != set(KEYS):
        found = ", ".join(map(str, texts)) if isinstance(texts, dict) else "none"
        raise DataError(f"{where}: views must have exactly the keys {', '.join(KEYS)}; found {found or 'none'}.")
    empty = [key for key in KEYS if not isinstance(texts[key], str) or not texts[key].strip()]
    if empty:
        raise DataError(f"{where}: the view '{empty[0]}' is empty. Write it, or remove the line and make it again.")
    if "image_id" not in row or "source" not in row:
        raise DataError(f"{where}: needs image_id, views and source. Make the file again with crosscue describe views.")
    overall, background, entity = (texts[key] for key in KEYS)
    return str(row["image_id"]), Views(overall, background, entity, str(row["source"]))
