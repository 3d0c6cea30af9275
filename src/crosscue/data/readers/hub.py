"""Tables of the `datasets` library: a folder written by `save_to_disk`, or an id on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosscue.data.pairs import EmbeddedImage, ImageFile, Pair, Pairs
from crosscue.data.records import COLUMNS, Missing, canonical_split, pair_of
from crosscue.errors import DataError, NetworkError


def read_datasets(source: str, missing: Missing) -> Pairs:
    """Reads a local `datasets` folder or a Hub id; pictures stay in the table until they are needed.

    Raises:
        DataError: no such dataset, or no picture or caption column.
        NetworkError: the Hub cannot be reached.
    """
    import datasets

    try:
        loaded = datasets.load_from_disk(source) if Path(source).is_dir() else datasets.load_dataset(source)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(f"{source}: neither a local source of pairs nor a dataset on the Hub.") from error
    except (ConnectionError, OSError) as error:
        raise NetworkError(
            f"{source}: the Hub cannot be reached ({type(error).__name__}). Give a local folder or file."
        ) from error
    tables = loaded if isinstance(loaded, dict) else {str(loaded.split) if loaded.split else "": loaded}
    return Pairs((pair for split, table in tables.items() for pair in _table(source, split, table, missing)), source)


def _table(source: str, split: str, table: Any, missing: Missing) -> Iterator[Pair]:
    import datasets

    column = next((name for name in COLUMNS["image"] if name in table.column_names), None)
    if column is None:
        raise DataError(
            f"{source} {split}: no picture column. Columns found: {', '.join(table.column_names)}. "
            f"Name one of them: {', '.join(COLUMNS['image'])}."
        )
    encoded = isinstance(table.features[column], datasets.Image)
    if encoded:
        table = table.cast_column(column, datasets.Image(decode=False))
    text = table.remove_columns([column])
    for number, row in enumerate(text):
        where = f"{source} {split} row {number + 1}"
        if not encoded:
            pair = pair_of(where, {**row, "image": table[number][column]}, Path())
            if isinstance(pair.image, ImageFile) and not pair.image.path.exists() and missing == "skip":
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
