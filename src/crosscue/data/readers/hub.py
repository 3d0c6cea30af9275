"""Tables of the `datasets` library: a folder written by `save_to_disk`, or an id on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosscue.data.pairs import EmbeddedImage, Pair, Pairs
from crosscue.data.readers.contract import Reader, Reading
from crosscue.data.records import COLUMNS, canonical_split, pair_of, usable
from crosscue.errors import DataError, NetworkError


def read_datasets(path: Path, reading: Reading) -> Pairs:
    """Reads a local `datasets` folder or a Hub id; images stay in the table until they are needed.

    Raises:
        DataError: no such dataset, or no image or caption column.
        NetworkError: the Hub cannot be reached.
    """
    import datasets

    source = str(path)
    try:
        loaded = datasets.load_from_disk(source) if Path(source).is_dir() else datasets.load_dataset(source)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(
            f"{source}: neither a local source of pairs nor a dataset on the Hub. Check the name."
        ) from error
    except (ConnectionError, OSError) as error:
        raise NetworkError(
            f"{source}: the Hub cannot be reached ({type(error).__name__}). Give a local folder or file."
        ) from error
    tables = loaded if isinstance(loaded, dict) else {str(loaded.split) if loaded.split else "": loaded}
    read = (pair for split, table in tables.items() for pair in _table(source, split, table, reading))
    return Pairs(read, source)


def _table(source: str, split: str, table: Any, reading: Reading) -> Iterator[Pair]:
    import datasets

    column = next((name for name in COLUMNS["image"] if name in table.column_names), None)
    if column is None:
        raise DataError(
            f"{source} {split}: no image column. Columns found: {', '.join(table.column_names)}. "
            f"Name one of them: {', '.join(COLUMNS['image'])}."
        )
    encoded = isinstance(table.features[column], datasets.Image)
    if encoded:
        table = table.cast_column(column, datasets.Image(decode=False))
    text = table.remove_columns([column])
    for number, row in enumerate(text):
        where = f"{source} {split} row {number + 1}"
        if not encoded:
            pair = pair_of(where, {**row, "image": table[number][column]}, reading.images or Path())
            if not usable(pair, source, reading.missing):
                continue
        else:
            pair = pair_of(where, {**row, "image": b" "}, Path())
        image = EmbeddedImage(where, _fetcher(table, number, column)) if encoded else pair.image
        row_split = pair.split or (canonical_split(split) if split else None)
        identity = pair.image_id if pair.image_id != where else f"{split}/{number}"
        yield replace(pair, image=image, image_id=identity, split=row_split, where=where)


def _fetcher(table: Any, number: int, column: str) -> Any:
    def fetch() -> bytes:
        cell = table[number][column]
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()

    return fetch


def _sniff(path: Path) -> bool:
    """Returns True for a folder that `save_to_disk` wrote, and for a name of the form owner/dataset that is no path."""
    if path.exists():
        return (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()
    return len(path.parts) == 2 and not path.is_absolute() and path.parts[0] not in (".", "..") and not path.suffix


DATASETS = Reader("datasets", _sniff, read_datasets)
