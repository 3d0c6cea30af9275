"""From whatever the user has to pairs: finds out what a source is, and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crosscue.data.pairs import Pairs
from crosscue.data.readers.annotations import read_coco, read_karpathy
from crosscue.data.readers.fdrd import Clean, read_fdrd
from crosscue.data.readers.folder import read_folder
from crosscue.data.readers.hub import read_datasets
from crosscue.data.readers.tables import read_csv, read_jsonl, read_parquet, read_records
from crosscue.data.records import Missing
from crosscue.errors import DataError
from crosscue.storage import read_json

Kind = Literal["auto", "folder", "csv", "json", "jsonl", "parquet", "karpathy", "coco", "fdrd", "datasets"]
LISTINGS = ("captions.json", "captions.jsonl", "metadata.jsonl", "metadata.csv", "captions.csv")
"""A folder that holds one of these is read through it."""
BY_SUFFIX: dict[str, Kind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True)
class Reading:
    """How a source of pairs is read."""

    kind: Kind = "auto"
    """What the source is; auto finds out."""
    images: Path | None = None
    """Folder that picture paths start from; default the folder of the source."""
    split_file: Path | None = None
    """CoOp split file to join FDRD captions with."""
    missing: Missing = "error"
    """What to do with rows whose picture does not exist: error, skip, or keep for work on the text alone."""
    captions_per_image: int | None = None
    """Use at most this many captions of each picture."""
    clean: Clean = "none"
    """Repairs of FDRD captions: none, spaces, full."""


def read_pairs(source: str | Path, split: str | None = None, reading: Reading | None = None) -> Pairs:
    """Reads pairs from a folder, a CSV/TSV, JSON, JSONL or parquet file, Karpathy, COCO or FDRD JSON, or a dataset.

    Args:
        source: path, or id of a dataset on the Hub.
        split: keep only this split.
        reading: how to read it; default finds out.

    Raises:
        DataError: no such source, or something in it cannot be used; the message names file and row.
    """
    reading = reading or Reading()
    pairs = _read(str(source), reading)
    if reading.captions_per_image is not None:
        pairs = pairs.with_captions(reading.captions_per_image)
    return pairs.split(split) if split is not None else pairs


def _read(source: str, reading: Reading) -> Pairs:
    path = Path(source)
    if not path.exists():
        if reading.kind == "datasets" or (
            source.count("/") == 1 and not source.startswith((".", "/")) and not path.suffix
        ):
            return read_datasets(source, reading.missing)
        raise DataError(f"{source}: there is no such file or folder.")
    if path.is_dir():
        listing = next((path / name for name in LISTINGS if (path / name).exists()), None)
        if reading.kind == "datasets" or _saved_dataset(path):
            return read_datasets(source, reading.missing)
        if listing is None or reading.kind == "folder":
            return read_folder(path, reading.missing)
        path = listing
    images = reading.images or path.parent
    kind = reading.kind if reading.kind != "auto" else BY_SUFFIX.get(path.suffix.lower(), "json")
    if kind == "csv":
        return read_csv(path, images, reading.missing)
    if kind == "jsonl":
        return read_jsonl(path, images, reading.missing)
    if kind == "parquet":
        return read_parquet(path, images, reading.missing)
    if path.suffix.lower() != ".json":
        raise DataError(f"{path}: unknown kind of file. Use .csv, .tsv, .json, .jsonl or .parquet, or say --kind.")
    return _read_json(path, images, reading)


def _read_json(path: Path, images: Path, reading: Reading) -> Pairs:
    content: Any = read_json(path)
    if isinstance(content, list):
        return read_records(path, content, images, reading.missing)
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        return read_coco(path, content, images, reading.missing)
    if isinstance(content, dict) and "images" in content:
        return read_karpathy(path, content, images, reading.missing)
    first = next(iter(content.values()), None) if isinstance(content, dict) else None
    if isinstance(first, dict) and "positive" in first:
        return read_fdrd(path, content, images, reading.split_file, reading.clean)
    raise DataError(
        f"{path}: none of the known kinds of JSON: a list of {{image, captions}} records, Karpathy's or COCO's annotations, "
        "FDRD's captions."
    )


def _saved_dataset(path: Path) -> bool:
    return (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()
