"""Tables of the `datasets` library: a folder written by `save_to_disk`, or an id on the Hub."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosscue.data.cells import content_identity
from crosscue.data.columns import COLUMNS, listed, optional, plain
from crosscue.data.pairs import EmbeddedImage, Pairs
from crosscue.data.readers.contract import Reader, Reading
from crosscue.data.records import Row, pairs_of
from crosscue.errors import CrosscueError, DataError, NetworkError
from crosscue.progress import note

ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
"""One of the two parts of the id of a dataset."""


NOWHERE = "{}: there is no such file or folder, and no such dataset on the Hub. Check the path or the name."


def reachable(name: str) -> bool:
    """Returns True if the Hub answers within seconds; `datasets` alone would try for half a minute.

    Raises:
        DataError: the Hub has no such dataset.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=5)
    except RepositoryNotFoundError as error:
        raise DataError(NOWHERE.format(name)) from error
    except HfHubHTTPError:
        return True
    except Exception:  # of the network, whichever library carries the request
        return False
    return True


@contextlib.contextmanager
def from_cache() -> Iterator[None]:
    """Lets `datasets` read its cache alone while the block runs."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def read_datasets(path: Path, reading: Reading) -> Pairs:
    """Reads a local `datasets` folder or a Hub id; images stay in the table until they are needed.

    Raises:
        DataError: no such dataset, or no image or caption column.
        NetworkError: the Hub cannot be reached.
    """
    import datasets

    source = str(path)
    try:
        if Path(source).is_dir():
            loaded = datasets.load_from_disk(source)
        else:
            note(f"{source}: there is no such file or folder; the Hub may have a dataset of that name")
            with contextlib.nullcontext() if reachable(source) else from_cache():
                loaded = datasets.load_dataset(source)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(NOWHERE.format(source)) from error
    except (ConnectionError, OSError) as error:
        raise NetworkError(
            f"{source}: there is no such file or folder, and the Hub, which may have a dataset of that name, cannot be "
            f"reached ({type(error).__name__}). Check the path, or connect."
        ) from error
    except CrosscueError:
        raise
    except Exception as error:  # the library reads foreign files, and raises whatever its formats raise
        raise _unread(source, error) from error
    tables = loaded if isinstance(loaded, dict) else {str(loaded.split) if loaded.split else "": loaded}
    try:
        for table in tables.values():
            table.data.table.validate(full=True)  # offsets of a damaged file lead outside of its memory map
        read = [_table(path, split, table, reading) for split, table in tables.items()]
    except CrosscueError:
        raise
    except Exception as error:  # as above: damaged rows are found when they are read
        raise _unread(source, error) from error
    ids = Counter(pair.image_id for pairs in read for pair in pairs)
    return Pairs(
        (
            replace(pair, image_id=f"{split}/{pair.image_id}") if ids[pair.image_id] > 1 else pair
            for split, pairs in zip(tables, read, strict=True)
            for pair in pairs
        ),
        source,
    )


def _unread(source: str, error: Exception) -> DataError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return DataError(f"{source}: not a dataset that can be read ({reason}). Check the path.")


def _table(path: Path, split: str, table: Any, reading: Reading) -> Pairs:
    """Returns the pairs of one split; the bytes of its images stay in the table until they are needed."""
    import datasets

    column = next((name for field in COLUMNS["image"] for name in table.column_names if plain(name) == field), None)
    if column is None:
        raise DataError(
            f"{path} {split}: no image column. Columns found: {listed(table.column_names)}. "
            f"Name one of them: {', '.join(COLUMNS['image'])}."
        )
    encoded = isinstance(table.features[column], datasets.Image)
    if encoded:
        table = table.cast_column(column, datasets.Image(decode=False))
    identities = _identities(table, column) if encoded else {}
    names: dict[str, str] = {}

    def rows() -> Iterator[Row]:
        for number, row in enumerate(table.remove_columns([column]) if encoded else table):
            where = f"{path} {split} row {number + 1}"
            given = {plain(str(name)): value for name, value in row.items()}
            if split and optional(given, "split") is None:
                given["split"] = split
            if number in identities:
                names[where] = f"{split}/{number}"
                given["image"] = EmbeddedImage(where, _fetcher(table, number, column), identities[number])
            elif encoded:
                given["image"] = (table[number][column] or {}).get("path")
            yield where, given

    pairs = pairs_of(rows(), path, replace(reading, images=reading.images or Path()))
    return pairs.part(replace(pair, image_id=names.get(pair.image_id, pair.image_id)) for pair in pairs)


def _identities(table: Any, column: str) -> dict[int, str]:
    """Returns row -> identity of its image, for the rows with bytes.

    It is empty where no other image has as many bytes: then none is equal, and nothing has to be read.
    """
    import pyarrow.compute

    cells = table.select_columns([column]).with_format("arrow")
    sizes: list[int | None] = []
    for part in cells.iter(batch_size=1000):
        for chunk in part[column].chunks:
            sizes += pyarrow.compute.binary_length(chunk.field("bytes")).to_pylist()
    counts = Counter(sizes)
    found = {row: "" for row, size in enumerate(sizes) if size is not None}
    for row in found:
        if counts[sizes[row]] > 1:
            cell = table[row][column]
            found[row] = content_identity(cell["bytes"], cell["path"])
    return found


def _fetcher(table: Any, number: int, column: str) -> Callable[[], bytes]:
    return lambda: table[number][column]["bytes"]


def _sniff(path: Path) -> bool:
    """Returns True for a folder that `save_to_disk` wrote, and for a name of the form owner/dataset that is no path."""
    if path.exists():
        return (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()
    named = len(path.parts) == 2 and not path.suffix and all(ID.fullmatch(part) for part in path.parts)
    return named and not path.parent.is_dir()  # `data/mistyped` beside a folder `data` is a path


DATASETS = Reader("datasets", _sniff, read_datasets)
