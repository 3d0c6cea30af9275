"""Indexing of folders into a collection: walk, plan, ingest, removal, captions and indices."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crosscue.errors import CollectionError
from crosscue.locks import sole_run
from crosscue.progress import note, progress
from crosscue.search.caption_rows import embed_captions
from crosscue.search.collection import FAILURES, TABLES, THUMBNAILS, Collection, create_collection
from crosscue.search.driver import Driver, drive
from crosscue.search.engines import Engine, Worker
from crosscue.search.failures import read_failures, unchanged, write_failures
from crosscue.search.indices import maintain
from crosscue.search.ingest import Counts, Ingest
from crosscue.search.labels import repair_labels
from crosscue.search.lease import Lease
from crosscue.search.reading import Captions, Reader
from crosscue.search.recovery import damaged_indices, drop_indices, manifests, recover
from crosscue.search.scan import Scan
from crosscue.search.scanning import Item, Walk, known_rows, plan, too_many, walk
from crosscue.search.shards import IMAGES, shards_of
from crosscue.search.tuning import check
from crosscue.search.writing import Writer

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder
    from crosscue.search.spaces import Space

Opens = Callable[[], "Encoder"]
"""Returns the encoder of a space. It is called when an image or a caption has to be encoded, and not before."""
INTERVALS = 5
"""Intervals between commits that a lease lasts without a renewal."""
Target = tuple[str, Path]
"""Name of a root, and the part of it to index, relative: `Path()` is all of it."""


@dataclass(frozen=True)
class Indexing:
    """Options of indexing."""

    scan: Scan | None = None
    """Options of the walk, which the collection then keeps; None: those it has."""
    batch_size: int = 32
    threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, 8))
    remove_missing: Literal["safe", "always"] = "safe"
    """`safe`: rows are kept where a root is not reachable, or would lose more than half of its images."""
    captions: bool = False
    """True: captions get vectors of their own, for the search from an image to captions. A space that has some keeps them up to date."""


@dataclass
class Outcome:
    """Result of one indexing run of one space."""

    counts: Counts
    space: Space
    kept: str | None = None
    """Text about rows that were kept although their files are missing."""
    interrupted: bool = False

    def __str__(self) -> str:
        found = self.space.measured
        recall = f" Recall@10 {min(found.texts, found.images):.2f}.".replace(" 0.", " .") if found else ""
        return f"{self.counts}{recall}"


@dataclass(frozen=True)
class Spread:
    """Several workers for the new images of a space."""

    engine: Engine
    opens: Opens
    """Opens the encoder in each worker, so it must pass through a pipe."""
    shard: int = IMAGES
    """Images that a worker writes at once."""
    interval: float = 60.0
    """Seconds between two commits. The lease lasts for `INTERVALS` of them."""


@contextlib.contextmanager
def writing(folder: Path, *, thorough: bool = False, store: str | None = None) -> Iterator[Collection]:
    """Opens, or makes, a collection for writing: locked, and recovered from a power cut.

    Args:
        folder: the collection.
        thorough: read all rows to find damage. It is always done after a run that did not end by itself.
        store: address of an object store for the tables of a new collection.

    Raises:
        StorageError: another process is writing.
        CollectionError: see `open_collection`.
    """
    unclean = (folder / ".running.holder").exists()
    with sole_run(folder, "--collection"):
        collection = create_collection(folder, store)
        for space in [] if collection.store else list(collection.spaces.values()):  # a store keeps whole files alone
            _recover(collection, space, thorough=thorough or unclean)
        said = repair_labels(collection, thorough=thorough)
        if said is not None:
            note(f"{collection.folder}: {said}")
        yield collection


def _recover(collection: Collection, space: Space, *, thorough: bool) -> None:
    names = [space.name, f"{space.name}.captions"]
    for name in names:
        folder = collection.table_folder(name)
        assert folder is not None
        if name == space.name or folder.exists():
            said = recover(collection.folder / TABLES, name, thorough=thorough)
            if said is not None:
                note(f"{collection.folder}: {said}")
            if not manifests(folder):
                collection.remake(space, name)
                continue
            if damaged_indices(folder):
                note(f"{collection.folder}: the indices of '{name}' are damaged and will be built again.")
                drop_indices(collection.table(name) if name == space.name else collection.captions_table(space.name))


def walks_of(collection: Collection, targets: Sequence[Target], scan: Scan | None = None) -> dict[Target, Walk]:
    """Returns the files of each target. `scan` are other options than those of the collection, which it then keeps for `save`."""
    collection.scan = scan or collection.scan
    return {(root, under): walk(root, collection.roots[root], under, collection.scan) for root, under in targets}


def targets_of(collection: Collection, folders: Sequence[Path]) -> list[Target]:
    """Returns the parts of roots that folders are; without folders, all roots.

    Raises:
        CollectionError: a folder does not exist, or there are no folders and no roots.
    """
    if not folders and not collection.roots:
        raise CollectionError(
            f"there is nothing to index. Name a folder: crosscue index FOLDER --collection {collection.folder}"
        )
    for folder in folders:
        if not folder.is_dir() and folder.resolve() not in collection.roots.values():
            raise CollectionError(f"{folder}: there is no such folder. Check the path.")
    return [collection.add_root(folder) for folder in folders] or [(root, Path()) for root in collection.roots]


def index(
    collection: Collection,
    space: Space,
    opens: Opens,
    walks: Mapping[Target, Walk],
    options: Indexing,
    captions: Mapping[str, Captions],
    stop: Callable[[], bool] = lambda: False,
    spread: Spread | None = None,
) -> Outcome:
    """Brings the rows of a space up to the files of some walks.

    Args:
        collection: opened by `writing`.
        space: the space.
        opens: returns the encoder of its run.
        walks: from `walks_of`.
        options: options.
        captions: id -> captions of a source of pairs.
        stop: returns True when the user wants to stop; rows so far are written.
        spread: workers for new images; None: this process reads and encodes all.
    """
    writer = Writer(collection.table(space.name), collection.table_folder(space.name))
    driver = None if spread is None else driver_of(collection, space, spread, writer)  # before the plan
    known, before = known_rows(writer.table), read_failures(collection.folder / FAILURES)
    always = options.remove_missing == "always"
    walks = {target: signed(found, captions) for target, found in walks.items()}
    todo = plan(known, walks, unchanged(before), unreachable_is_gone=always)
    total = dict(known)
    counts = Counts(same=todo.same, unreadable=todo.unreadable)
    ingest = Ingest(writer, opens, space.identity.width, known, todo.gone, options.batch_size, counts)
    thumbnails = collection.folder / THUMBNAILS
    with progress("indexing", len(todo.read), "images") as advance:
        if driver is not None and spread is not None:
            new = [item for item in todo.read if item.id not in known]
            roots, width, chosen = collection.roots, space.identity.width, captions_of(new, captions)
            worker = Worker(
                *(spread.opens, space.identity.run, driver.table, width, roots, thumbnails, chosen),
                *(options.batch_size, options.threads, samples_of(new, roots)),
            )
            driver.plan(shards_of(new, spread.shard))
            try:
                for count in drive(driver, spread.engine, worker, spread.interval, stop) if new else ():
                    advance(count)
            finally:
                driver.lease.release()
            writer.table.checkout_latest()
            ingest.adopt(known_rows(writer.table), driver.failures)
            todo = replace(todo, read=[item for item in todo.read if item.id in total])
        spec = opens().pixels if todo.read else None
        reader = Reader(collection.roots, spec, thumbnails, ingest.contents, captions)
        for count in ingest.run(todo.read, reader, options.threads, stop):
            advance(count)
    interrupted = stop()
    gone = {one: row for one, row in todo.gone.items() if one not in ingest.replaced}
    lost = {} if always else {root: (missing, rows) for root, missing, rows in too_many(total, gone)}
    lost |= {root: (count, count) for root in todo.kept if (count := sum(row.root == root for row in total.values()))}
    removed = set() if interrupted else {one for one, row in gone.items() if row.root not in lost}
    writer.delete(sorted(removed | ingest.replaced))
    ingest.counts.removed = len(removed)
    present = {item.id for found in walks.values() for item in found.items}
    walked = {(root, under) for (root, under), found in walks.items() if found.reachable}
    forgotten = ingest.read | {
        one for one, row in before.items() if (row["root"], Path()) in walked and one not in present
    }
    write_failures(collection.folder / FAILURES, before, ingest.failures, forgotten)
    captioned = options.captions or collection.has_table(f"{space.name}.captions")
    if captioned and not interrupted:
        embed_captions(collection, space, opens, writer.table)
    if not interrupted:
        space, built = maintain(collection, space, writer)
        if built:
            space = check(collection, space, opens())
        if not space.whole:
            space = collection.keep(space, whole=True)
    return Outcome(ingest.counts, space, missing_message(lost) if lost else None, interrupted)


def driver_of(collection: Collection, space: Space, spread: Spread, writer: Writer) -> Driver:
    """Returns the driver of a space's table, which then has the lease.

    Raises:
        CollectionError: another driver has it.
    """
    address = str(collection.table_folder(space.name) or f"{collection.store}/{space.name}.lance")
    lease = Lease(address, str(collection.store or collection.folder), INTERVALS * spread.interval)
    driver = Driver(lease, writer.force)
    writer.table.checkout_latest()
    return driver


def captions_of(items: Sequence[Item], captions: Mapping[str, Captions]) -> dict[str, Captions]:
    """Returns the captions of some images, by id."""
    return {item.id: captions[item.id] for item in items if item.id in captions}


def samples_of(items: Sequence[Item], roots: Mapping[str, Path]) -> tuple[Path, ...]:
    """Returns a readable image of each root, where there is one."""
    found: dict[str, Path] = {}
    for item in items:
        if item.root not in found and os.access(path := roots[item.root] / os.fsdecode(item.raw), os.R_OK):
            found[item.root] = path
    return tuple(found.values())


def missing_message(lost: Mapping[str, tuple[int, int]]) -> str:
    """Returns the text about roots of which too many images are gone: root -> (missing, all)."""
    listed = "; ".join(f"{root}/: {missing:,} of {total:,} images are gone" for root, (missing, total) in lost.items())
    return f"{listed}. If that is right, add --remove_missing always; if a disk is not mounted, mount it."


def signed(found: Walk, captions: Mapping[str, Captions]) -> Walk:
    """Returns a walk whose items have the sign of their captions from a source of pairs, where it has any."""
    if not captions:
        return found

    def sign(item: Item) -> Item:
        own = captions.get(item.id)
        return item if own is None else replace(item, sidecar=own.sign)

    return Walk([sign(item) for item in found.items], found.closed, found.reachable)
