"""Folders with several tables: `metadata` in the folder of each split (ImageFolder), shards of parquet, or `train.csv` and `test.csv`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from crosscue.data.columns import COLUMNS, named
from crosscue.data.folder_tree import tree_of
from crosscue.data.locations import entries
from crosscue.data.pairs import Pairs
from crosscue.data.path_splits import folder_split
from crosscue.data.readers.contract import Reader, Reading
from crosscue.data.readers.tables import rows_of
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError

SHARD = re.compile(r"([A-Za-z]+)-\d+-of-\d+(-[0-9a-f]+)?\.parquet")
"""Name of a shard, which begins with its split."""
SPLIT_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Endings of tables that may be named after their split."""
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def read_image_folder(folder: Path, reading: Reading) -> Pairs:
    """Reads the tables below a folder. Paths start from the folder of their table.

    The name of that folder gives the split, or the name of a shard.

    Raises:
        DataError: there is no such table, or something in one cannot be used.
    """
    tree = tree_of(folder)
    tables = list(tree.named(*TABLES)) or sorted(
        place / name for place, names in tree.names.items() for name in names.values() if is_part(name)
    )
    tables = tables or sorted(
        tree.named(*(name for names in tree.names.values() for name in names if is_parquet(name)))
    )
    if not tables:
        raise DataError(f"{folder}: no table {', '.join(TABLES)} and no shard in it. Leave --kind imagefolder out.")
    for line in tree.notes():
        reading.note(line)

    def rows() -> Iterator[Row]:
        for table in tables:
            below = table.parent.relative_to(folder)
            names = (*below.parts, table.name.partition("-")[0], table.stem)
            split = next((split for name in names if (split := folder_split(name))), None)
            for where, row in rows_of(table, reading):
                values = {"split": split, **named(row)}
                for column in COLUMNS["image"]:
                    if isinstance(values.get(column), str):
                        values[column] = str(below / values[column].replace("\\", "/"))
                yield where, values

    return pairs_of(rows(), folder, reading)


def is_part(name: str) -> bool:
    """Returns True for a shard, and for a table that is named after its split, such as `val.jsonl`."""
    file = Path(name)
    return SHARD.fullmatch(name) is not None or (
        file.suffix.lower() in SPLIT_TABLES and folder_split(file.stem) is not None
    )


def is_parquet(name: str) -> bool:
    """Returns True for the name of a parquet file."""
    return name.lower().endswith(".parquet")


def _sniff(path: Path) -> bool:
    if not path.is_dir():
        return False
    inside = entries(path)
    below = [*inside, *(place for part in inside if part.is_dir() for place in entries(part))]
    tables = any((place / name).is_file() for place in below if folder_split(place.name) for name in TABLES)
    return (
        tables
        or any(is_part(place.name) for place in below)
        or (any(is_parquet(place.name) for place in inside) and not tree_of(path).images)
    )


IMAGE_FOLDER = Reader("imagefolder", _sniff, read_image_folder)
