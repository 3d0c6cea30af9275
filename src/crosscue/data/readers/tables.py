"""CSV, TSV, JSON, JSONL and parquet: one row an image, or one row a caption."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosscue.data.pairs import Pairs
from crosscue.data.readers.contract import Reader, Reading, json_content, json_sniffer, suffix_sniffer
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError
from crosscue.storage import read_lines


def read_csv(path: Path, reading: Reading) -> Pairs:
    """Reads a CSV or TSV file with a header line; the delimiter follows the file's name."""

    def rows() -> Iterator[Row]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            try:
                for row in table:
                    if None in row or None in row.values():
                        expected = len(table.fieldnames or ())
                        raise DataError(
                            f"{path} line {table.line_num}: the row does not have the {expected} columns of the header. "
                            "Quote fields that contain the delimiter."
                        )
                    yield f"{path} line {table.line_num}", row
            except csv.Error as error:
                raise DataError(f"{path} line {table.line_num}: {error}. Check the quotes.") from error
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: not UTF-8 ({error.reason}). Save the file as UTF-8.") from error

    return pairs_of(rows(), path, reading)


def read_jsonl(path: Path, reading: Reading) -> Pairs:
    """Reads one JSON object a line."""
    return pairs_of(read_lines(path), path, reading)


def read_records(path: Path, reading: Reading) -> Pairs:
    """Reads a JSON list of objects."""
    content = json_content(path)
    if not is_list(content):
        raise DataError(f"{path}: not a JSON list of {{image, captions}} objects. Leave --kind json out.")

    def rows() -> Iterator[Row]:
        for number, record in enumerate(content, 1):
            if not isinstance(record, dict):
                raise DataError(f"{path} record {number}: not an object. The file must be a list of objects.")
            yield f"{path} record {number}", record

    return pairs_of(rows(), path, reading)


def read_parquet(path: Path, reading: Reading) -> Pairs:
    """Reads a parquet file; images may be paths or embedded bytes."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a parquet file ({error}).") from error

    def rows() -> Iterator[Row]:
        number = 0
        for batch in table.iter_batches(batch_size=256):
            for record in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", record

    return pairs_of(rows(), path, reading)


def is_list(content: Any) -> bool:
    """Returns True for a JSON list."""
    return isinstance(content, list)


CSV = Reader("csv", suffix_sniffer(".csv", ".tsv"), read_csv)
JSONL = Reader("jsonl", suffix_sniffer(".jsonl"), read_jsonl)
JSON = Reader("json", json_sniffer(is_list), read_records)
PARQUET = Reader("parquet", suffix_sniffer(".parquet"), read_parquet)
