"""crosscue labels DIR --out FILE: the marks of a collection as training pairs."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser, taken
from crosscue.errors import DataError


@dataclass(frozen=True)
class LabelsOptions:
    """Options of `crosscue labels`."""

    out: Path = Path("pairs.jsonl")
    """JSONL file of the pairs."""


def run(arguments: list[str]) -> int:
    """Writes the pairs and prints the size of each split."""
    parser = options_parser(
        "labels",
        "Writes the marks of a collection as pairs, split so that no text is in two splits.",
        (LabelsOptions, None),
    )
    parser.add_argument("collection", help="Collection, or a folder of images that was indexed.")
    given = parser.instantiate(parser.parse_args(arguments))
    options = taken(given, LabelsOptions)

    from crosscue.data.writing import write_pairs
    from crosscue.search.collection import open_collection
    from crosscue.search.labels import FEWEST_HELD_OUT, labels_of, pairs_of_labels

    collection = open_collection(given.collection)
    labels = labels_of(collection)
    pairs, gone = pairs_of_labels(collection, labels)
    if not pairs:
        raise DataError(
            f"{collection.folder}: no image is marked as right for a text. Mark some: crosscue serve {collection.folder}"
        )
    write_pairs(options.out, pairs)
    counts = Counter(pair.split for pair in pairs)
    texts = {split: len({text for pair in pairs if pair.split == split for text in pair.captions}) for split in counts}
    sizes = ", ".join(f"{split} {counts[split]} images of {texts[split]} texts" for split in sorted(counts, key=str))
    sys.stdout.write(f"{options.out}: {len(labels)} marks, {len(pairs)} pairs: {sizes}\n")
    if gone:
        sys.stdout.write(f"{gone} marks are of images that the collection no longer has; they are left out.\n")
    if texts.get("test", 0) < FEWEST_HELD_OUT:
        sys.stdout.write(
            f"Below {FEWEST_HELD_OUT} held-out texts the gain of training cannot be known. Mark more texts.\n"
        )
    return 0
