"""The contract of a reader: it recognises a source and reads it as pairs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from crosscue.data.pairs import Pairs
from crosscue.storage import read_json

Missing = Literal["error", "skip", "keep"]
Clean = Literal["none", "spaces", "full"]


@dataclass(frozen=True)
class Reading:
    """Options of reading a source of pairs."""

    kind: str = "auto"
    """Reader of the source: folder, csv, json, jsonl, parquet, karpathy, coco, fdrd, datasets, or one of a plug-in.
    `auto` takes the first reader that recognises the source."""
    images: Path | None = None
    """Folder that the paths of images start from; default the folder of the source."""
    split_file: Path | None = None
    """CoOp's split file, which gives FDRD captions their class and split."""
    domain: str | None = None
    """Domain to take from a folder of FDRD, such as pets; default all that are in it."""
    missing: Missing = "error"
    """Treatment of rows whose image file does not exist. error: stop. skip: leave them out. keep: take them, for work
    on the text alone."""
    features: Path | None = None
    """File of features (.safetensors or .npy) with one row for each image of the source; default the images are
    opened. Rows are found by name, by index, or by the order of the images."""
    unverified: bool = False
    """True: features are accepted although FILE.json does not name their tower. The results are stamped."""
    captions_per_image: int | None = None
    """Largest number of captions of each image; default all."""
    clean: Clean = "none"
    """Repairs of FDRD captions. none: as released. spaces: spacing. full: also underscores and doubled class names."""

    def images_beside(self, path: Path) -> Path:
        """Returns the folder that the paths of images in the file or folder `path` start from."""
        return self.images or (path if path.is_dir() else path.parent)

    def command(self, source: str) -> str:
        """Returns the source and these options as a shell takes them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        usual = Reading()
        options = [
            f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value != getattr(usual, name)
        ]
        return " ".join([shlex.quote(source), *options])


@dataclass(frozen=True)
class Reader:
    """A way to read sources of one kind. Packages add theirs as an entry point of the group `crosscue.readers`."""

    name: str
    """The value of `--kind` that selects it."""
    sniff: Callable[[Path], bool]
    """Returns True for a source that it reads. A source need not exist: it may be an id of the Hub."""
    read: Callable[[Path, Reading], Pairs]
    """Returns the pairs of a source, or raises a `DataError` that names file and row."""


def json_content(path: Path) -> Any:
    """Returns the content of a JSON file. The latest content is kept, because several readers sniff at one file."""
    status = path.stat() if path.exists() else None
    return _json_content(path, status and (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=1)
def _json_content(path: Path, version: object) -> Any:
    return read_json(path)


def forget_json() -> None:
    """Frees the content that `json_content` keeps."""
    _json_content.cache_clear()


def json_sniffer(fits: Callable[[Any], bool]) -> Callable[[Path], bool]:
    """Returns a `sniff` for JSON files whose content `fits`."""
    return lambda path: path.suffix.lower() == ".json" and path.is_file() and fits(json_content(path))


def suffix_sniffer(*suffixes: str) -> Callable[[Path], bool]:
    """Returns a `sniff` for files with one of `suffixes`."""
    return lambda path: path.suffix.lower() in suffixes and path.is_file()
