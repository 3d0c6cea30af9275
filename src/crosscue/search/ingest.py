"""Indexing: files are read by threads ahead of the encoder, and rows are written in batches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from crosscue.search.reading import Failure, ReadImage
from crosscue.search.scanning import Item, Known
from crosscue.search.schema import COLUMNS, COMPUTED, KEY, Record, rows, vectors_of
from crosscue.search.shipped import bank_of

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder, Floats, Pixels
    from crosscue.search.reading import Reader

ROWS, SECONDS = 512, 20.0
"""A batch of rows is written when it has so many, or is so old."""
Outcome = ReadImage | Failure | None


@dataclass
class Counts:
    """Results of one indexing run, in images."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    same: int = 0
    removed: int = 0
    unreadable: int = 0
    encoded: int = 0
    """Images that passed through the encoder."""

    @property
    def images(self) -> int:
        """Images with a row after the run, and those that could not be read."""
        return self.added + self.changed + self.moved + self.copied + self.same + self.unreadable

    def __str__(self) -> str:
        named = [(name, getattr(self, name)) for name in ("added", "changed", "moved", "copied", "same", "removed")]
        parts = [f"{count:,} {name}" for name, count in named if count or name in ("added", "same")]
        if self.unreadable:
            parts.append(f"{self.unreadable:,} unreadable (failures.jsonl)")
        return f"{self.images:,} images: {', '.join(parts)}."


class Rows(Protocol):
    """The place of the rows: a table, or a shard of new images."""

    def upsert(self, rows: Any) -> None:
        """Inserts rows, or replaces those of the same id."""
        ...

    def computed(self, ids: Sequence[str]) -> Any:
        """Returns id, vector and what is computed with it of the rows of some ids, as an Arrow table."""
        ...


@dataclass
class Ingest:
    """One indexing run of one space: from the items of a plan to the rows of its table."""

    writer: Rows
    opens: Callable[[], Encoder]
    width: int
    """D."""
    known: dict[str, Known]
    """Rows of the table by id; kept up to date."""
    gone: dict[str, Known]
    """Rows whose files are missing; a file with the content of one is that file, moved."""
    batch_size: int = 32
    counts: Counts = field(default_factory=Counts)
    failures: list[Failure] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """Ids of the files that could be read."""
    replaced: set[str] = field(default_factory=set)
    """Ids of rows to remove whatever else is missing: their files were found elsewhere, or can no longer be read."""

    def __post_init__(self) -> None:
        self.contents = {row.content: one for one, row in self.known.items()}
        """Content -> id of a row that has its vector."""
        self._missing: dict[str, list[str]] = {}
        for one, row in self.gone.items():
            self._missing.setdefault(row.content, []).append(one)
        self._broken: dict[str, str] = {}
        self._waiting: list[ReadImage] = []
        self._pixels: list[ReadImage] = []
        self._done: list[tuple[list[Record], Floats, Pixels]] = []
        self._reused: list[Record] = []
        self._updated: list[Record] = []
        self._since = time.monotonic()

    def run(self, items: Sequence[Item], reader: Reader, threads: int, stop: Callable[[], bool]) -> Iterator[int]:
        """Indexes items, and yields the number of images after each step; ends early, with all rows written, on `stop`."""
        for outcome in ahead(items, reader, threads, threads + 2 * self.batch_size, stop):
            self._take(outcome)
            if len(self._pixels) >= self.batch_size:
                self._encode()
            if self._size() >= ROWS or (self._size() and time.monotonic() - self._since > SECONDS):
                self._encode()
                self.write()
            yield 1
        self._encode()
        self.write()
        while self._waiting and not stop():  # the row with their content got another one in this run
            image = self._waiting.pop()
            reader.release(image.record.content)
            self._take(reader(image.item))
            self._encode()
            self.write()

    def adopt(self, found: Mapping[str, Known], failures: Sequence[Failure]) -> None:
        """Counts the rows that workers have added to a table, and their failures, as if they were of this run."""
        self.failures.extend(failures)
        self.counts.unreadable += len(failures)
        for one, row in found.items():
            if one not in self.known:
                self._count(self._kind(row.content))
                self.known[one] = row
                self.contents.setdefault(row.content, one)
                self.read.add(one)

    def _kind(self, content: str) -> str:
        """Returns the count that a new row belongs to; a missing row with its content is then replaced by it."""
        if missing := self._missing.get(content):
            self.replaced.add(missing.pop())
            return "moved"
        return "copied" if content in self.contents else "added"

    def _size(self) -> int:
        return len(self._reused) + len(self._updated) + len(self._pixels) + sum(len(part) for part, _, _ in self._done)

    def _take(self, outcome: Outcome) -> None:
        """Sorts one file: not readable, the same content, a content that has a vector, or one to encode."""
        if outcome is None:
            return
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            self.counts.unreadable += 1
            self._broken[outcome.content] = outcome.reason
            if outcome.item.id in self.known and outcome.content:  # a file that the disk refuses may be whole
                self.replaced.add(outcome.item.id)
            return
        record, row = outcome.record, self.known.get(outcome.item.id)
        self.read.add(record.id)
        if row is not None and row.content == record.content:
            self._updated.append(record)
            self._count("same" if row.sidecar == record.sidecar else "changed")
        elif record.content in self.contents:
            self._reuse(record, row)
        elif outcome.pixels is not None:
            self._pixels.append(outcome)
            self._count("added" if row is None else "changed")
        else:
            self._waiting.append(outcome)  # another file of this run has the content and is not written yet

    def _count(self, name: str) -> None:
        setattr(self.counts, name, getattr(self.counts, name) + 1)

    def _reuse(self, record: Record, row: Known | None) -> None:
        self._reused.append(record)
        self._count("changed" if row is not None else self._kind(record.content))

    def _encode(self) -> None:
        while self._pixels:
            batch, self._pixels = self._pixels[: self.batch_size], self._pixels[self.batch_size :]
            pixels = np.stack([image.pixels for image in batch if image.pixels is not None])  # (B, 3, S, S)
            looks = np.stack([image.looks for image in batch if image.looks is not None])  # (B, 192)
            self._done.append(([image.record for image in batch], self.opens().encode_images(pixels), looks))
            self.counts.encoded += len(batch)

    def write(self) -> None:
        """Writes the rows so far, then those that waited for the vectors among them."""
        width = self.width
        copies = self._copies(self._reused, width) if self._reused else None  # before their rows get other contents
        if self._done:
            records = [record for part, _, _ in self._done for record in part]
            vectors = np.concatenate([part for _, part, _ in self._done])
            hubness = bank_of(self.opens()).hubness(vectors)
            looks = np.concatenate([part for _, _, part in self._done])
            self.writer.upsert(rows(records, vectors, width, hubness, looks))
            self._written(records)
        if copies is not None:
            self.writer.upsert(copies)
            self._written(self._reused)
        if self._updated:
            self.writer.upsert(_without_vector(self._updated))
            self._written(self._updated)
        self._done, self._reused, self._updated, self._since = [], [], [], time.monotonic()
        waiting, self._waiting = self._waiting, []
        for image in waiting:
            content = image.record.content
            if content in self._broken:
                self._take(Failure(image.item, content, self._broken[content]))
            else:
                self._take(image)
        if self._reused:
            self.write()

    def _written(self, records: Iterable[Record]) -> None:
        for record in records:
            before = self.known.get(record.id)
            if before and before.content != record.content and self.contents.get(before.content) == record.id:
                del self.contents[before.content]
            raw = record.path.encode() if record.raw is None else record.raw
            self.known[record.id] = Known(
                record.root, raw, record.content, record.size, record.modified, record.sidecar
            )
            self.contents.setdefault(record.content, record.id)

    def _copies(self, records: Sequence[Record], width: int) -> pa.Table:
        """Returns rows with the vectors that the table has for their contents."""
        ids = sorted({self.contents[record.content] for record in records})
        kept = self.writer.computed(ids)
        place = {one: index for index, one in enumerate(kept[KEY].to_pylist())}
        order = [place[self.contents[record.content]] for record in records]
        made = rows(records, vectors_of(kept)[order], width)
        for name in COMPUTED:
            column = kept[name].combine_chunks().take(pa.array(order, pa.int64()))
            made = made.set_column(made.schema.get_field_index(name), made.schema.field(name), column)
        return made


def ahead(
    items: Sequence[Item], read: Callable[[Item], Outcome], threads: int, window: int, stop: Callable[[], bool]
) -> Iterator[Outcome]:
    """Yields the outcome of each item in order, with at most `window` of them read ahead by threads."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Outcome]] = deque()
        left = iter(items)
        try:
            while True:
                while len(waiting) < window and not stop() and (item := next(left, None)) is not None:
                    waiting.append(pool.submit(read, item))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _without_vector(records: Sequence[Record]) -> Any:
    """Returns rows with all columns of a record and no others."""
    width = 1
    made = rows(records, np.zeros((len(records), width), np.float32), width)
    return made.select([name for name in COLUMNS if name not in COMPUTED])
