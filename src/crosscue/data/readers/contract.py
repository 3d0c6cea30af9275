"""The contract of a reader: it recognises a source and reads it as pairs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from crosscue.data.pairs import Pairs
from crosscue.errors import DataError, OptionError
from crosscue.progress import note
from crosscue.source_files import at_home
from crosscue.storage import read_json

Missing = Literal["error", "skip", "keep"]
Clean = Literal["none", "spaces", "full"]
PARTIAL = ("images", "split_file", "domain", "clean")
"""Options that some readers obey."""
LEFT_OUT = ("missing images", "empty captions", "images without captions")
"""Kinds of fault that `--missing skip` leaves out."""


@dataclass(frozen=True)
class Reading:
    """Options of reading a source of pairs."""

    kind: str = "auto"
    """Reader of the source: folder, csv, json, jsonl, parquet, karpathy, coco, fdrd, flickr, imagefolder, datasets, or one of a
    plug-in. `auto` takes the first reader that recognises the source."""
    images: Path | None = None
    """Folder that the paths of images start from; default the folder of the source."""
    split_file: Path | None = None
    """CoOp's split file, which gives FDRD captions their class and split."""
    domain: str | None = None
    """Domain to take from a folder of FDRD, such as pets; default all that are in it."""
    missing: Missing = "error"
    """Treatment of rows that lack their image file or a caption. `error`: stop. `skip`: leave them out and print their
    number. `keep`: take those without a file, for work on the text alone."""
    features: Path | None = None
    """File of features (.safetensors or .npy) with one row for each image of the source; default the images are
    opened. Rows are found by name, by index, or by the order of the images."""
    unverified: bool = False
    """True: features are accepted although FILE.json does not name their tower. The results are stamped."""
    captions_per_image: int | None = None
    """Largest number of captions of each image; default all."""
    clean: Clean = "none"
    """Repairs of FDRD captions. none: as released. spaces: spacing. full: also underscores and doubled class names."""

    def __post_init__(self) -> None:
        most = self.captions_per_image
        if most is not None and (type(most) is not int or most < 1):
            raise OptionError(f"captions_per_image is {most!r}; it must be an integer from 1 on.")

    def images_beside(self, path: Path) -> Path:
        """Returns the folder that the paths of images in the file or folder `path` start from."""
        return at_home(self.images) if self.images else path if path.is_dir() else path.parent

    def refuse(self, error: DataError) -> None:
        """Raises the error of a row, unless `missing` leaves such rows out."""
        if self.missing != "skip" or error.kind not in LEFT_OUT:
            raise error

    def note(self, text: str) -> None:
        """Prints a line about what reading leaves out or ignores."""
        note(text)

    def command(self, source: str) -> str:
        """Returns the source and these options as a shell takes them."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(Reading)}
        usual = Reading()
        options = [
            f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value != getattr(usual, name)
        ]
        return " ".join([shlex.quote(source), *options])


@dataclass(frozen=True)
class Examination(Reading):
    """Options of a reading that counts what it leaves out, and may collect faults instead of raising the first."""

    collect: bool = False
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Kind of fault -> the line of each."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Kind of fault -> number of those that `missing` leaves out."""
    notes: list[str] = field(default_factory=list)

    def refuse(self, error: DataError) -> None:
        """Counts the error of a row that `missing` leaves out; keeps any other, or raises it."""
        if self.missing == "skip" and error.kind in LEFT_OUT:
            self.left_out[error.kind] = self.left_out.get(error.kind, 0) + 1
        elif self.collect:
            self.faults.setdefault(error.kind, []).append(str(error))
        else:
            raise error

    def note(self, text: str) -> None:
        """Keeps a line about what reading leaves out or ignores."""
        self.notes.append(text)


@dataclass(frozen=True)
class Reader:
    """A way to read sources of one kind. Packages add theirs as an entry point of the group `crosscue.readers`."""

    name: str
    """The value of `--kind` that selects it."""
    sniff: Callable[[Path], bool]
    """Returns True for a source that it reads. A source need not exist: it may be an id of the Hub."""
    read: Callable[[Path, Reading], Pairs]
    """Returns the pairs of a source, or raises a `DataError` that names file and row."""
    obeys: tuple[str, ...] = ("images",)
    """Names of the options among `PARTIAL` that it obeys; the others are refused."""

    def require_effect(self, source: Path, reading: Reading) -> None:
        """Raises `DataError` for an option that the reader does not obey, and for a folder of images that is not there."""
        for name in PARTIAL:
            if getattr(reading, name) != getattr(Reading(), name) and name not in self.obeys:
                raise DataError(f"{source}: --{name} has no effect on it (reader {self.name}). Leave --{name} out.")
        if reading.images is not None and reading.missing != "keep" and not at_home(reading.images).is_dir():
            raise DataError(f"--images {reading.images}: there is no such folder. Check the path.")


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
