"""A reader of lines such as `train | red/1.jpg | a red thing`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.readers.contract import Reader, Reading


def read_lines(path: Path, reading: Reading) -> Pairs:
    """Returns the pairs of a file, one a line."""

    def pairs() -> Iterator[Pair]:
        for line in path.read_text().splitlines():
            split, image, caption = (part.strip() for part in line.split("|"))
            yield Pair(ImageFile(reading.images_beside(path) / image), (caption,), image, split=split)

    return Pairs(pairs(), str(path))


LINES = Reader("lines", lambda path: path.suffix == ".lines", read_lines)
