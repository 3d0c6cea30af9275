"""Rows of text tables: the delimiter that the header shows, and its rule of quoting."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from crosscue.data.columns import has, no_column
from crosscue.data.readers.contract import Reading
from crosscue.data.records import Row
from crosscue.errors import DataError
from crosscue.source_files import open_text

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
LONGEST = 1 << 20
"""Largest number of characters in a header."""
csv.field_size_limit(1 << 24)  # a column may contain whole records, or encoded images
IMAGE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """The form of one table."""

    delimiter: str
    names: list[str]
    spaced: bool
    """True if a space follows each delimiter of the header."""
    first: int
    """Number of the first line behind the header."""

    @property
    def quoted(self) -> bool:
        """True if fields may stand in quotation marks; captions between tabs and bars are written without."""
        return self.delimiter in ",;"


def table_rows(path: Path, reading: Reading) -> Iterator[Row]:
    """Yields the rows of a table whose first line names its columns.

    Raises:
        DataError: the table cannot be read, or a row has more or fewer columns than the header.
    """
    with open_text(path, newline="") as file:
        lines = iter(file)
        dialect = header(path, lines)
        count = len(dialect.names)
        require_names(path, dialect)
        twice = next((name for place, name in enumerate(dialect.names) if name and name in dialect.names[:place]), None)
        if twice is not None:
            raise DataError(f"{path}: the header has column '{twice}' twice. Give each column its own name.")
        for number, values in (quoted if dialect.quoted else unquoted)(path, lines, dialect, reading):
            where = f"{path} line {number}"
            if len(values) != count:
                reading.refuse(
                    DataError(
                        f"{where}: the row does not have the {count} columns of the header, but {len(values)}. "
                        f"Quote fields that contain the delimiter {dialect.delimiter!r}."
                    )
                )
                continue
            if dialect.spaced:
                values = [value.strip() for value in values]
            yield where, dict(zip(dialect.names, values, strict=True))


def require_names(path: Path, dialect: Dialect) -> None:
    """Raises `DataError` for a first line without a column of images and one of captions."""
    missing = [field for field in ("image", "captions") if not has(dialect.names, field)]
    if missing and any(IMAGE.search(name) for name in dialect.names):
        example = dialect.delimiter.join(("image", "caption"))
        raise DataError(
            f"{path}: the first line contains an image, and must name the columns. Put a line above it, such as {example!r}."
        )
    if missing:
        no_column(str(path), missing[0], dialect.names)


def header(path: Path, lines: Iterator[str]) -> Dialect:
    """Returns the form of a table from its first line that is not blank: the delimiter between names that are known.

    Excel's line `sep=;` is obeyed.
    """
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    first, line = 1, ""
    for line in lines:
        first += 1
        if match := re.fullmatch(r"sep=(.)\s*", line):
            usual = match[1]
        elif line.strip():
            break
    if not line.strip():
        raise DataError(f"{path}: the file is empty. It must name its columns, and have a row an image.")
    if len(line) > LONGEST:
        raise DataError(f"{path}: the first line has {len(line):,} characters. It must name the columns.")
    found = [Dialect(delimiter, *names(line, delimiter), first) for delimiter in dict.fromkeys((usual, *DELIMITERS))]
    return next((one for one in found if has(one.names, "image") and has(one.names, "captions")), found[0])


def names(line: str, delimiter: str) -> tuple[list[str], bool]:
    """Returns the names in a header, and True if spaces stand before all but the first."""
    fields = line.rstrip("\r\n").split(delimiter)
    spaced = len(fields) > 1 and all(field.startswith(" ") for field in fields[1:])
    return [field.strip().strip('"').strip() for field in fields], spaced


def quoted(path: Path, lines: Iterable[str], dialect: Dialect, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, fields) of the rows of a table whose fields may be in quotation marks."""
    number = dialect.first - 1

    def counted() -> Iterator[str]:
        nonlocal number
        for number, line in enumerate(lines, dialect.first):  # noqa: B007
            yield line

    rest = counted()
    table = csv.reader(rest, delimiter=dialect.delimiter, strict=True, skipinitialspace=dialect.spaced)
    while True:
        first = number + 1
        try:
            values = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            end = f" to {number}" if number > first else ""
            reading.refuse(DataError(f"{path} line {first}{end}: {error}. Check the quotes."))
            table = csv.reader(rest, delimiter=dialect.delimiter, strict=True, skipinitialspace=dialect.spaced)
            continue
        if not values:
            continue
        swallowed = next((line for value in values for line in value.splitlines()[1:] if is_row(line, dialect)), None)
        if swallowed is not None:
            reading.refuse(
                DataError(
                    f"{path} line {first} to {number}: a field in quotes contains the row {swallowed[:60]!r}. "
                    "Close the quotation marks, or double those inside a caption."
                )
            )
            continue
        yield first, values


def is_row(line: str, dialect: Dialect) -> bool:
    """Returns True for a line inside a field that is a row of the table: as many fields, an image among them."""
    fields = line.split(dialect.delimiter)
    return len(fields) == len(dialect.names) and any(IMAGE.search(field) for field in fields)


def unquoted(path: Path, lines: Iterable[str], dialect: Dialect, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, fields) of the rows of a table with one row a line.

    A whole field in quotation marks, as pandas writes it, is unquoted; other marks belong to the caption.
    """
    count = len(dialect.names)
    for number, line in enumerate(lines, dialect.first):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        values = line.split(dialect.delimiter)
        if len(values) != count:
            values = rejoined(line, values, dialect)
        yield number, [plain(value) for value in values]


def rejoined(line: str, values: list[str], dialect: Dialect) -> list[str]:
    """Returns the fields of a line with another number of them than the header, where their form is known.

    It is a field in quotation marks with the delimiter in it, or Flickr30k's one row without its second bar.
    """
    try:
        (fields,) = csv.reader([line], delimiter=dialect.delimiter, strict=True)
    except (csv.Error, ValueError):
        fields = values
    if len(fields) == len(dialect.names):
        return fields
    numbered = re.fullmatch(r"\s*(\d+)\s\s+(.*)", values[-1])
    if dialect.delimiter == "|" and len(values) == 2 and len(dialect.names) == 3 and numbered:
        return [values[0], numbered[1], numbered[2]]
    return values


def plain(value: str) -> str:
    """Returns the content of a field that is in quotation marks as a whole; others as they are."""
    inner = value[1:-1]
    whole = len(value) > 1 and value.startswith('"') and value.endswith('"') and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else value
