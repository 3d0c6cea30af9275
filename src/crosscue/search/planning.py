"""The counts that indexing would have, from the hashes of the files. Nothing is decoded, encoded or written."""

from __future__ import annotations

from collections.abc import Mapping

from crosscue.progress import track
from crosscue.search.collection import FAILURES, Collection
from crosscue.search.failures import read_failures, unchanged
from crosscue.search.indexing import Target, signed
from crosscue.search.ingest import Counts
from crosscue.search.reading import Captions, Failure, Reader
from crosscue.search.scanning import Walk, known_rows, plan


def planned(
    collection: Collection, name: str | None, walks: Mapping[Target, Walk], captions: Mapping[str, Captions]
) -> Counts:
    """Returns the counts of a run that has not been made.

    Args:
        collection: the collection.
        name: the space; None for one that is not there yet.
        walks: see `walks_of`.
        captions: id -> captions of a source of pairs.
    """
    known = known_rows(collection.table(name)) if name is not None else {}
    before = read_failures(collection.folder / FAILURES)
    todo = plan(known, {target: signed(found, captions) for target, found in walks.items()}, unchanged(before))
    counts = Counts(same=todo.same, unreadable=todo.unreadable)
    contents = {row.content for row in known.values()}
    missing = [row.content for row in todo.gone.values()]
    reader = Reader(collection.roots, None, None, {}, captions)
    for item in track(todo.read, "reading", len(todo.read), "images"):
        outcome, row = reader(item), known.get(item.id)
        if isinstance(outcome, Failure):
            counts.unreadable += 1
        elif outcome is not None and row is not None:
            same = row.content == outcome.record.content and row.sidecar == item.sidecar
            counts.same, counts.changed = counts.same + same, counts.changed + (not same)
        elif outcome is not None:
            content = outcome.record.content
            if content in missing:
                missing.remove(content)
                counts.moved += 1
            elif content in contents:
                counts.copied += 1
            else:
                counts.added += 1
            contents.add(content)
    counts.removed = len(missing)
    return counts
