"""Coverage-guided fuzzing of the readers with atheris: python -m tests.data.coverage_fuzzing -runs=20000 -seed=1

`make fuzz` runs it where atheris is installed (`pip install atheris`, on Linux). Any exception but a
`CrosscueError` of one line ends it, and the input is kept in the file `crash-*`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["crosscue.data", "crosscue.source_files", "crosscue.storage"]):
    from crosscue.data.sources import read_pairs
from crosscue.errors import CrosscueError
from tests.data.test_fuzzing import SEEDS, is_line
from tests.images import draw_noise

NAMES = sorted(SEEDS)
FOLDER = Path(tempfile.mkdtemp())


def read(content: bytes) -> None:
    """Reads a file; its first byte chooses the name, and so the reader."""
    path = FOLDER / NAMES[content[0] % len(NAMES)] if content else FOLDER / "empty.csv"
    path.write_bytes(content[1:])
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):  # noqa: PTH123
            read_pairs(path)
    except CrosscueError as error:
        assert is_line(error), error
    finally:
        path.unlink()


def main() -> None:
    """Starts from the whole sources of the other fuzz tests."""
    for number in range(3):
        draw_noise(FOLDER / f"{number}.png", number, 5, 5)
    corpus = Path(tempfile.mkdtemp())
    for number, name in enumerate(NAMES):
        (corpus / name).write_bytes(bytes([number]) + SEEDS[name])
    atheris.Setup([*sys.argv, str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
