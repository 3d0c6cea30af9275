"""The caption files of Flickr8k and Flickr30k as they are distributed.

Flickr8k.token.txt, results_20130124.token     image.jpg#0<tab>caption, five lines an image
captions.txt                                   image,caption
results.csv                                    image_name| comment_number| comment (read as a table)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from crosscue.data.columns import has
from crosscue.data.pairs import Pairs
from crosscue.data.readers.contract import Reader, Reading
from crosscue.data.readers.dialects import table_rows
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError
from crosscue.source_files import open_text, read_text

TOKEN = re.compile(r"(?P<image>[^\t#]+\.(?:jpe?g|png))(?:\.\d+)?#\d+\t(?P<caption>.*)", re.IGNORECASE)
"""A line of a token file; Flickr8k numbers one image `.jpg.1`."""
SPLITS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
"""Split -> list of its images, beside the captions of Flickr8k."""


def read_flickr(path: Path, reading: Reading) -> Pairs:
    """Reads a caption file; the lists of Flickr8k's splits beside it give the splits.

    Raises:
        DataError: a line is not of the form.
    """
    if TOKEN.fullmatch(_first_line(path)) is None:
        return pairs_of(table_rows(path, reading), path, reading)
    splits = {
        image: split
        for split, name in SPLITS.items()
        if (path.parent / name).is_file()
        for image in read_text(path.parent / name).split()
    }

    def rows() -> Iterator[Row]:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                where, found = f"{path} line {number}", TOKEN.fullmatch(line.rstrip("\n"))
                if found is not None:
                    yield where, {**found.groupdict(), "split": splits.get(found["image"])}
                elif line.strip():
                    reading.refuse(DataError(f"{where}: not of the form image.jpg#0<tab>caption. Correct the line."))

    return pairs_of(rows(), path, reading)


def _sniff(path: Path) -> bool:
    if path.suffix.lower() not in (".txt", ".token") or not path.is_file():
        return False
    line = _first_line(path)
    fields = re.split(r"[,;\t|]", line)
    return TOKEN.fullmatch(line) is not None or (has(fields, "image") and has(fields, "captions"))


def _first_line(path: Path) -> str:
    try:
        with open_text(path) as lines:
            return lines.readline(10_000).rstrip("\n")
    except DataError:
        return ""


FLICKR = Reader("flickr", _sniff, read_flickr)
