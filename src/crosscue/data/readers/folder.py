"""A folder of images with their captions beside them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from crosscue.data.folder_tree import SUFFIXES, tree_of
from crosscue.data.pairs import Pairs
from crosscue.data.path_splits import split_and_category, split_notes
from crosscue.data.readers.contract import Reader, Reading
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError
from crosscue.source_files import read_text


def is_table(name: str) -> bool:
    """Returns True for the name of a table of pairs."""
    return Path(name).suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def read_folder(folder: Path, reading: Reading) -> Pairs:
    """Reads `image.jpg` with `image.txt` beside it, one caption a line.

    Folders called train, val (or validation) and test give the split, at the top or below another folder. The last other
    folder of an image gives its category. Hidden and system files are ignored.

    Raises:
        DataError: no images, or an image without its caption file.
    """
    tree = tree_of(folder)
    for line in tree.notes():
        reading.note(line)
    tables = [place / name for place, names in tree.names.items() for name in names.values() if is_table(name)]
    if tree.images and len(tables) == 1 and not any(tree.beside(image, ".txt") for image in tree.images):
        raise DataError(
            f"{folder}: no image has a caption file beside it. Read the table: crosscue data check {shlex.quote(str(tables[0]))}"
        )
    if not tree.images:
        raise DataError(
            f"{folder}: no images here ({', '.join(sorted(SUFFIXES))}). Give the folder that contains them."
        )
    if alone := tree.alone(".txt"):
        reading.note(
            f"{folder}: {len(alone):,} text files without an image beside them are ignored, such as {alone[0].name}"
        )
    folders = [image.relative_to(folder).parts[:-1] for image in tree.images]
    for line in split_notes(str(folder), folders):
        reading.note(line)

    def rows() -> Iterator[Row]:
        for image, (split, category) in zip(tree.images, split_and_category(folders), strict=True):
            sidecar = tree.beside(image, ".txt")
            if sidecar is None:
                error = DataError(
                    f"{image}: no caption file {image.stem}.txt beside it. Write one caption a line into it, or list the "
                    "pairs in a CSV or JSONL file.",
                    kind="images without captions",
                )
                reading.refuse(error)
                continue
            try:
                text = read_text(sidecar)
            except DataError as error:
                reading.refuse(error)
                continue
            lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            values = {
                "image": str(image.relative_to(folder)),
                "captions": [line for line in lines if line.strip()],
                "split": split,
                "category": category,
            }
            yield str(sidecar), values

    return pairs_of(rows(), folder, reading)


FOLDER = Reader("folder", Path.is_dir, read_folder, obeys=())
