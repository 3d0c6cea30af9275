"""collection.json: what a collection is made of, beside its tables and thumbnails."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from crosscue.errors import CollectionError
from crosscue.search.refusals import FILE, missing
from crosscue.search.scan import Scan
from crosscue.search.spaces import Space, space_of
from crosscue.storage import read_json, write_json
from crosscue.version import __version__

FORMAT = 1
REMAKE = "Restore the file, or delete the collection and index again."


@dataclass(frozen=True)
class Contents:
    """Contents of collection.json; `crosscue.search.collection.Collection` has their meaning."""

    store: str | None
    captions_from: str | None
    scan: Scan
    roots: dict[str, Path]
    spaces: dict[str, Space]


def write_contents(folder: Path, contents: Contents) -> None:
    """Writes collection.json. The root that holds the collection is written relative to it, so both can move."""
    own = folder.resolve()
    roots = {
        name: os.path.relpath(root, own) if own.is_relative_to(root) else str(root)
        for name, root in contents.roots.items()
    }
    spaces = {
        name: {key: value for key, value in asdict(space).items() if key != "name"}
        for name, space in contents.spaces.items()
    }
    known = {"store": contents.store, "captions_from": contents.captions_from, "scan": asdict(contents.scan)}
    write_json(folder / FILE, {"format": FORMAT, "crosscue": __version__, **known, "roots": roots, "spaces": spaces})


def read_contents(folder: Path) -> Contents:
    """Returns the contents of collection.json.

    Raises:
        CollectionError: there is none, it is damaged, or a newer crosscue made it.
    """
    if not (folder / FILE).exists():
        raise missing(folder)
    record = read_json(folder / FILE, CollectionError, REMAKE)
    number = record.get("format") if isinstance(record, dict) else None
    if type(number) is int and number > FORMAT:
        raise CollectionError(
            f"{folder}: made by a newer crosscue (format {number}). Install it: pip install -U crosscue"
        )
    try:
        scan = record.get("scan", {})
        return Contents(
            record["store"],
            record["captions_from"],
            Scan(**{**scan, "exclude": tuple(scan.get("exclude", ()))}),
            {name: (folder.resolve() / root).resolve() for name, root in record["roots"].items()},
            {name: space_of(name, entry) for name, entry in record["spaces"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CollectionError(f"{folder / FILE}: not as written by crosscue. {REMAKE}") from error
