"""crosscue index FOLDER... --run RUN --collection DIR: bring a collection up to its folders."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crosscue.commands.index_folders import kept_source, place_of, scan_of, surveyed
from crosscue.commands.index_spaces import encoder_of_run, no_run, spaces_of, spread_of
from crosscue.commands.parser import options_parser
from crosscue.errors import CollectionError

if TYPE_CHECKING:
    from crosscue.search.indexing import Indexing, Outcome

INTERRUPTED = 130


@dataclass(frozen=True)
class IndexOptions:
    """Options of `crosscue index`."""

    run: str | None = None
    """Run folder, export folder, or a method without training such as zero_shot. Default all spaces of the collection."""
    collection: str | None = None
    """Folder of the collection; default `.crosscue` in the first FOLDER. An address such as s3://bucket/photos puts its tables there,
    and needs --local."""
    local: Path | None = None
    """Folder of a collection whose tables are in an object store. It holds all the rest, and is what other commands take."""
    name: str | None = None
    """Name of the space, which is the set of vectors of one run. Default the name of the run folder."""
    captions_from: str | None = None
    """Source of pairs whose captions, categories and splits the images get, now and at every later run. none: forget it.
    Default the caption files beside the images, and their XMP and IPTC."""
    captions: bool = False
    """True: captions get vectors too, now and at every later run, for the search from an image to captions."""
    exclude: str | None = None
    """Globs of files and folders to leave out, now and at every later run, separated by commas, such as '*.gif,old/*'. none:
    forget them. Always left out: .git, node_modules, @eaDir."""
    hidden: bool | None = None
    """True: names that begin with a dot are read too, now and at every later run. Default as before, at first false."""
    follow_links: bool | None = None
    """True: symbolic links are followed, now and at every later run. Default as before. At first they are left out: the image has
    its own place."""
    remove_missing: Literal["safe", "always"] = "safe"
    """Rows of files that are gone. `safe`: they are kept if more than half of a folder is gone, which an unmounted disk looks
    like. `always`: they are removed."""
    replace: bool = False
    """True: a space that another run made under this name is removed first."""
    dry_run: bool = False
    """True: the changes are counted, and nothing is written."""
    watch: float | None = None
    """Seconds between two scans; the command then runs until Ctrl-C. Default one scan."""
    repair: bool = False
    """True: all rows are read first, to find what a power cut has damaged."""
    batch_size: int = 32
    """Images that are encoded at once. More is faster on a GPU."""
    threads: int | None = None
    """Threads that read and decode; default one for each core, at most 8."""
    workers: int | None = None
    """Processes that read and encode new images, each with an encoder of its own. A process that is killed costs no image.
    Default: this process alone. Needs the extra `scale`, and for each process the memory of an encoder."""
    engine: Literal["local", "ray"] = "local"
    """Place of the workers. `local`: processes of this machine. `ray`: actors on all machines of a Ray cluster that runs already.
    All of them must see the images and the collection at the same paths."""
    ray_address: str | None = None
    """Head of the Ray cluster, host:port; default auto: the cluster that this machine belongs to."""
    cpus_per_worker: float | None = None
    """CPUs that each Ray worker takes; default 2. It decodes and encodes with as many threads."""
    gpus_per_worker: float | None = None
    """GPUs that each Ray worker takes; default 0. .5: two workers share one."""
    shard: int | None = None
    """Images that a worker reads and writes at once; default 2048. More is better from 100 million images on."""
    commit_seconds: float | None = None
    """Seconds between two commits of what workers have written; default 60. Another driver must wait five times as long
    for one that was lost on another machine."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """Runtime of the encoder: onnx for an export folder, else torch."""
    precision: str = "auto"
    """dtype of the towers: auto, fp32 or bf16; of an export fp32 or w8."""
    device: str | None = None
    """Device, such as cpu or cuda; default the GPU if there is one."""
    backbone: str | None = None
    """Backbone of the run. Default the one that the run folder names, or `starter` for a method."""


def run(arguments: list[str]) -> int:
    """Indexes, prints the counts, and returns 130 after Ctrl-C."""
    if arguments[:1] == ["tune"]:
        from crosscue.commands.index_tune import run as tune

        return tune(arguments[1:])
    given, place, folders = parsed(arguments)
    return _plan(given, place, folders) if given.dry_run else _index(given, place, folders)


def parsed(arguments: list[str], verb: str = "index") -> tuple[Any, Path, list[Path]]:
    """Returns the options of an indexing run, the folder of its collection, and the folders to index.

    Raises:
        CrosscueError: an option is wrong, or there is nothing to index.
    """
    parser = options_parser(
        verb,
        "Encodes the images of folders into a collection, or brings one up to date. `crosscue index tune DIR` measures and "
        "tunes its index.",
        (IndexOptions, None),
    )
    parser.add_argument("folders", nargs="*", help="Folders of images. Default the folders of the collection.")
    given = parser.instantiate(parser.parse_args(arguments))
    folders = [Path(folder) for folder in given.folders]
    if given.collection is None and given.local is None and not folders:
        raise CollectionError(f"there is nothing to index. Name a folder: crosscue {verb} FOLDER --run RUN")
    place, given.store = place_of(given, folders)
    return given, place, folders


def _index(given: Any, place: Path, folders: Sequence[Path]) -> int:
    from crosscue.interruption import interruption
    from crosscue.progress import note
    from crosscue.search.indexing import index, targets_of, walks_of, writing
    from crosscue.search.pair_captions import captions_from

    warnings.filterwarnings("ignore", module="PIL")  # a damaged block of metadata is left out
    options = indexing_of(given)
    _require_start(given, folders, place)
    if given.engine == "ray":
        from crosscue.search.ray_cluster import reached

        reached(given.ray_address or "auto")
    encoder = encoder_of_run(given)
    with writing(place, thorough=given.repair, store=given.store) as collection, interruption() as stopping:
        targets = targets_of(collection, folders)
        if given.captions_from is not None:
            source = given.captions_from
            collection.captions_from = None if source == "none" else kept_source(source)
        collection.scan = scan_of(given, collection.scan)
        collection.save()
        spaces = spaces_of(given, encoder, collection)
        kept: list[str] = []
        while True:
            walks = walks_of(collection, targets)
            captions = captions_from(collection, walks)
            outcomes = [
                index(
                    *(collection, space, opens, walks, options, captions, lambda: stopping.requested),
                    spread=spread_of(given, space),
                )
                for space, opens in spaces
            ]
            spaces = [(outcome.space, opens) for outcome, (_, opens) in zip(outcomes, spaces, strict=True)]
            _report(outcomes, quiet=given.watch is not None)
            before, kept = kept, [outcome.kept for outcome in outcomes if outcome.kept]
            if given.watch is not None and kept and kept != before:
                note(kept[0])
            if given.watch is None or stopping.requested:
                break
            until = time.monotonic() + given.watch
            while time.monotonic() < until and not stopping.requested:
                time.sleep(0.1)
        if stopping.requested:
            return INTERRUPTED
        if kept:
            raise CollectionError(kept[0])
    return 0


def _report(outcomes: Sequence[Outcome], *, quiet: bool) -> None:
    for outcome in outcomes:
        counts = outcome.counts
        if not quiet or counts.images != counts.same + counts.unreadable or counts.removed:
            named = f"{outcome.space.name}: " if len(outcomes) > 1 else ""
            sys.stdout.write(f"{named}{outcome}\n")
            sys.stdout.flush()


def _plan(given: Any, place: Path, folders: Sequence[Path]) -> int:
    from crosscue.search.planning import planned

    collection, walks, captions, names = surveyed(given, place, folders)
    for one in names:
        counts = planned(collection, one, walks, captions)
        sys.stdout.write(f"{f'{one}: ' if len(names) > 1 else ''}{counts} Nothing was written.\n")
    return 0


def _require_start(given: Any, folders: Sequence[Path], place: Path) -> None:
    """Raises `CollectionError` before a collection is made for folders that cannot be indexed, or without a run."""
    from crosscue.search.collection import FILE, Collection
    from crosscue.search.indexing import targets_of

    if not (place / FILE).exists():
        targets_of(Collection(place), folders)
        if given.run is None:
            raise no_run(place)


def indexing_of(given: Any) -> Indexing:
    """Returns the checked options of an indexing run."""
    from crosscue.search.indexing import Indexing

    for name in ("batch_size", "threads", "workers", "shard"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise CollectionError(f"{name} is {getattr(given, name)}; it must be at least 1, such as --{name} 8.")
    for name in ("watch", "commit_seconds", "cpus_per_worker"):
        if getattr(given, name) is not None and not getattr(given, name) > 0:
            raise CollectionError(f"{name} is {getattr(given, name):g}; it must be above 0, such as --{name} 10.")
    if given.gpus_per_worker is not None and not given.gpus_per_worker >= 0:
        raise CollectionError(f"gpus_per_worker is {given.gpus_per_worker:g}; it must be at least 0.")
    for name in ("shard", "commit_seconds"):
        if getattr(given, name) is not None and given.workers is None:
            raise CollectionError(f"{name} has no effect without --workers N. Leave --{name} out.")
    for name in ("ray_address", "cpus_per_worker", "gpus_per_worker"):
        if getattr(given, name) is not None and given.engine != "ray":
            raise CollectionError(f"{name} has no effect without --engine ray. Leave --{name} out.")
    if given.engine == "ray" and given.workers is None:
        raise CollectionError("--engine ray needs the number of workers, such as --workers 4.")
    options = Indexing(
        batch_size=given.batch_size,
        remove_missing=given.remove_missing,
        captions=given.captions,
    )
    threads = given.threads
    if threads is None and given.engine == "ray":
        threads = max(1, int(given.cpus_per_worker or 2))
    elif threads is None and given.workers is not None:
        threads = max(1, options.threads // given.workers)
    return options if threads is None else replace(options, threads=threads)
