"""An indexing process with small batches, to be killed: `python -m tests.search.killed PLACE FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from crosscue.search import indices, ingest, tuning, writing
from tests.search.conftest import ColourEncoder, indexed

ingest.ROWS, writing.COMMITS, indices.SMALLEST, indices.FRAGMENTS = 8, 3, 100, 2
tuning.QUERIES = 5

if __name__ == "__main__":
    place, folder = map(Path, sys.argv[1:])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    indexed(place, [folder], ColourEncoder(bank=True), captions=True, remove_missing="always")
    sys.stdout.write("done\n")
