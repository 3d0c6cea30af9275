"""Marks of people: an image is right or wrong for a text. They become training pairs."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from crosscue.data.pairs import ImageFile, Negative, Pair
from crosscue.search.collection import TABLES, Collection
from crosscue.search.recovery import damaged, manifests, readable, recover
from crosscue.search.refusals import refusals, unreadable
from crosscue.search.schema import KEY
from crosscue.search.writing import Writer

TABLE = "_labels"
"""Name of the table. No space can have it."""
SCHEMA = pa.schema(
    [
        pa.field(KEY, pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("image", pa.string()),
        pa.field("relevant", pa.bool_()),
        pa.field("space", pa.string()),
        pa.field("note", pa.string()),
        pa.field("marked_at", pa.timestamp("us")),
    ]
)
MOST_FRAGMENTS = 64
"""Files of the table from which they are joined; each call adds one."""
FEWEST_HELD_OUT = 20
"""Texts without which the gain of training cannot be known."""
LEAST, MOST = 0.3, 0.5
"""Share of the texts that is held out: `LEAST` of many, and up to `MOST` of few, to reach `FEWEST_HELD_OUT`."""
VALIDATION, VALIDATED = 0.15, 200
"""Share of the texts in `val`, and the number of texts from which there is this split: fewer choose no epoch. The rest is `train`."""


@dataclass(frozen=True)
class Label:
    """One mark."""

    text: str
    image: str
    """Id of the image."""
    relevant: bool
    space: str = ""
    """Space whose results were shown."""
    note: str | None = None
    marked_at: datetime.datetime | None = None

    @property
    def key(self) -> str:
        """Primary key: a second mark of the same image for the same text replaces the first."""
        return hashlib.blake2b(f"{self.text}\0{self.image}".encode(), digest_size=10).hexdigest()


def add_labels(collection: Collection, labels: Sequence[Label]) -> None:
    """Adds marks, which are on the disk afterwards; a mark of the same text and image is replaced. Several processes may do so at once."""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    rows = [asdict(label) | {KEY: label.key, "marked_at": label.marked_at or now} for label in labels]
    batch = pa.Table.from_pylist(rows, SCHEMA)
    writer = Writer(_table(collection) or _made(collection), collection.table_folder(TABLE))
    writer.upsert(batch)
    if writer.fragments > MOST_FRAGMENTS:
        writer.join()


def remove_label(collection: Collection, text: str, image: str) -> bool:
    """Removes the mark of a text and an image; returns False if there was none."""
    table = _table(collection)
    key = Label(text, image, True).key  # hexadecimal, so it needs no quoting
    if table is None or not table.count_rows(f"{KEY} = '{key}'"):
        return False
    Writer(table, collection.table_folder(TABLE)).delete([key])
    return True


def labels_of(collection: Collection) -> list[Label]:
    """Returns all marks, oldest first."""
    table = _table(collection)
    if table is None:
        return []
    names = [field.name for field in fields(Label)]
    with _readable(collection):
        rows: list[dict[str, Any]] = table.to_arrow().select(names).sort_by("marked_at").to_pylist()
    return [Label(**row) for row in rows]


def repair_labels(collection: Collection, *, thorough: bool) -> str | None:
    """Goes back to the last marks that can be read, after a power cut; nothing is deleted.

    Args:
        collection: opened for writing.
        thorough: read all marks, even where nothing looks damaged.

    Returns:
        None if the table was whole; otherwise a text about the marks that were lost.
    """
    folder, tables = collection.table_folder(TABLE), collection.folder / TABLES
    if folder is None or not folder.exists() or not (thorough or damaged(folder)):
        return None
    if readable(tables, TABLE) is not None:
        return None
    recover(tables, TABLE, thorough=True)
    if manifests(folder):
        return f"marks could not be read; {readable(tables, TABLE):,} of an earlier version are left."
    number = 1
    while (aside := folder.with_name(f"{TABLE}.damaged-{number}")).exists():
        number += 1
    folder.rename(aside)
    return f"no marks can be read; their files are in {aside}."


def _table(collection: Collection) -> Any | None:
    with _readable(collection):
        return collection.connection.open_table(TABLE) if collection.has_table(TABLE) else None


@contextlib.contextmanager
def _readable(collection: Collection) -> Iterator[None]:
    """Turns the errors of a damaged table into one that names the command that repairs it."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise unreadable(collection.folder, collection.store, "marks") from error


def _made(collection: Collection) -> Any:
    with refusals(str(collection.table_folder(TABLE) or collection.store)):
        try:
            table = collection.connection.create_table(TABLE, schema=SCHEMA)
        except ValueError:  # another process has made it since
            return collection.connection.open_table(TABLE)
        table.set_unenforced_primary_key(KEY)
        return table


def groups(labels: Iterable[Label]) -> list[set[str]]:
    """Returns the texts that belong together: those that share an image marked as right, directly or through others."""
    owner: dict[str, str] = {}

    def root(text: str) -> str:
        while owner[text] != text:
            owner[text] = owner[owner[text]]
            text = owner[text]
        return text

    by_image: dict[str, str] = {}
    for label in labels:
        owner.setdefault(label.text, label.text)
        if label.relevant:
            first = by_image.setdefault(label.image, label.text)
            owner[root(label.text)] = root(first)
    found: dict[str, set[str]] = {}
    for text in owner:
        found.setdefault(root(text), set()).add(text)
    return list(found.values())


def splits(labels: Sequence[Label]) -> dict[str, str]:
    """Returns text -> split. No text and no image marked as right is in two splits.

    A group of texts has the place that the hash of its first text gives it, so further marks move few texts.
    """
    parts = groups(labels)
    count = sum(map(len, parts))
    left = {"test": max(LEAST * count, min(MOST * count, FEWEST_HELD_OUT))}
    left["val"] = VALIDATION * count if count >= VALIDATED else 0.0
    chosen: dict[str, str] = {}
    for part in sorted(parts, key=lambda texts: hashlib.sha256(min(texts).encode()).hexdigest()):
        split = next((name for name, room in left.items() if room >= len(part) / 2), "train")
        if split in left:
            left[split] -= len(part)
        chosen |= dict.fromkeys(part, split)
    return chosen


def pairs_of_labels(collection: Collection, labels: Sequence[Label]) -> tuple[list[Pair], int]:
    """Returns the pairs that marks make, and the number of marks of images that are gone.

    An image marked as right for texts gets them as captions. A text it was marked as wrong for becomes a negative of it,
    where both are in one split.
    """
    split_of = splits(labels)
    rows = _rows(collection, {label.image for label in labels})
    right: dict[str, list[str]] = {}
    wrong: dict[str, list[str]] = {}
    gone = 0
    for label in labels:
        if label.image not in rows:
            gone += 1
            continue
        (right if label.relevant else wrong).setdefault(label.image, []).append(label.text)
    pairs = []
    for image, captions in right.items():
        split = split_of[captions[0]]
        negatives = tuple(Negative(text) for text in wrong.get(image, ()) if split_of[text] == split)
        file = ImageFile(Path(rows[image]))
        pairs.append(Pair(file, tuple(captions), image, negatives=negatives, split=split, where="marks"))
    return pairs, gone


def _rows(collection: Collection, ids: set[str]) -> dict[str, Path]:
    """Returns image id -> file, over all spaces."""
    found: dict[str, Path] = {}
    for name in collection.spaces:
        columns = ["id", "root", "path", "raw"]
        for row in collection.table(name).search().select(columns).limit(None).to_list():
            if row["id"] in ids:
                found.setdefault(row["id"], collection.file(row))
    return found
