"""The estimate of `crosscue index`: a few images read and encoded, and the number of those that are new."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crosscue.encoding.encoder import Encoder, Pixels
from crosscue.errors import CollectionError
from crosscue.memory import available_bytes, most_resident_bytes, resident_bytes
from crosscue.planning.estimate import Estimate, Part, evenly, load_note, measured
from crosscue.search.collection import FAILURES, Collection
from crosscue.search.failures import read_failures, unchanged
from crosscue.search.indexing import Target, signed
from crosscue.search.reading import Captions, Failure, Reader
from crosscue.search.scanning import Item, Walk, known_rows, plan

READ = 8
"""Images that are read and encoded to measure the rates."""
RECORD = 1_000
"""Bytes of a row beside its vector."""


def indexing(
    collection: Collection,
    space: str | None,
    walks: Mapping[Target, Walk],
    captions: Mapping[str, Captions],
    encoder: Encoder,
    *,
    batch_size: int,
    threads: int,
    workers: int,
    overlaps: bool,
    elsewhere: bool = False,
    captioned: bool = False,
) -> Estimate:
    """Returns the estimate of an indexing run.

    Args:
        collection: the collection, or one that is not there yet.
        space: the space; None for a new one.
        walks: the files of the folders.
        captions: id -> captions of a source of pairs.
        encoder: the encoder of the space.
        batch_size: images that are encoded at once.
        threads: threads that read.
        workers: processes.
        overlaps: True if reading is done beside encoding, because a GPU encodes.
        elsewhere: True if the workers are on other machines.
        captioned: True if captions get vectors too.
    """
    known = known_rows(collection.table(space)) if space is not None else {}
    failed = unchanged(read_failures(collection.folder / FAILURES))
    todo = plan(known, {target: signed(found, captions) for target, found in walks.items()}, failed)
    count, free = len(todo.read), available_bytes()
    heading = f"{count:,} images to read, {todo.same:,} same"
    if not count:
        return Estimate(heading, [Part("nothing to encode", 0.0)], resident_bytes(), free + resident_bytes())
    read, encode, pixels, thumbnail = rates(collection, todo.read, captions, encoder, batch_size)
    base, most = resident_bytes(), most_resident_bytes()  # a batch was encoded
    reading = count * read / min(threads * (1 if elsewhere else workers), os.cpu_count() or 1)
    parts = [Part(f"{count:,} images read, decoded and made thumbnails of", reading), Part("encoded", count * encode)]
    if overlaps:
        parts = [max(parts, key=lambda part: part.seconds)]
    width = encoder.identity.width
    remedies = ["images that the collection has already under another name are not encoded again"]
    if captioned:
        remedies.append("vectors of captions are not counted: they come on top")
    if elsewhere:
        remedies.append(
            f"time and memory are those of one worker like this machine; {workers} of them can divide the time by {workers} at best"
        )
        workers = 1
    elif workers > 1:
        remedies.append(
            f"{workers} workers share the cores of this machine: the time is about that of one, the memory is of all"
        )
    return Estimate(
        heading,
        parts,
        workers * (most + (threads + 2 * batch_size) * pixels),
        free + base,
        [("of vectors and records", count * (4.0 * width + RECORD)), ("of thumbnails", count * thumbnail)],
        remedies,
        load_note(),
    )


def rates(
    collection: Collection, items: Sequence[Item], captions: Mapping[str, Captions], encoder: Encoder, batch_size: int
) -> tuple[float, float, float, float]:
    """Returns the seconds to read an image on one thread and to encode it, the bytes of its pixels, and of its thumbnail.

    Raises:
        CollectionError: none of some images can be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(collection.roots, encoder.pixels, Path(scratch), {}, captions)
        start, found = time.perf_counter(), list[Pixels]()
        for index in evenly(len(items), READ):
            outcome = reader(items[index])
            if outcome is not None and not isinstance(outcome, Failure) and outcome.pixels is not None:
                found.append(outcome.pixels)
        read = (time.perf_counter() - start) / max(len(found), 1)
        if not found:
            raise CollectionError(
                f"none of {min(READ, len(items))} images can be read, such as {os.fsdecode(items[0].raw)}. "
                "crosscue index lists the reasons in failures.jsonl."
            )
        thumbnails = sum(path.stat().st_size for path in Path(scratch).rglob("*.webp")) / len(found)
    batch = np.stack([found[index % len(found)] for index in range(min(batch_size, len(items)))])
    seconds = measured(lambda: encoder.encode_images(batch))
    return read, seconds / len(batch), float(found[0].nbytes), thumbnails
