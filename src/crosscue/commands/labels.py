"""crosscue labels DIR: the marks of a collection as training pairs, and the gain of a model that was trained on them."""

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
    gain: str | None = None
    """Space whose gain on the held-out texts is measured; then no pairs are written."""
    before: str | None = None
    """Space that --gain compares with. Default the oldest one."""
    next: Path | None = None
    """File of texts, one a line, such as searches of a log. Those without marks are listed, the most uncertain first;
    then no pairs are written."""
    top: int = 20
    """Number of texts that --next lists."""


def run(arguments: list[str]) -> int:
    """Writes the pairs and prints the size of each split; with --gain, prints recall before and after."""
    parser = options_parser(
        "labels",
        "Writes the marks of a collection as pairs, split so that no text is in two splits; --gain measures what they brought.",
        (LabelsOptions, None),
    )
    parser.add_argument("collection", help="Collection, or a folder of images that was indexed.")
    given = parser.instantiate(parser.parse_args(arguments))
    options = taken(given, LabelsOptions)
    if options.gain is not None:
        return measure(given.collection, options.before, options.gain)
    if options.next is not None:
        return suggest(given.collection, options.next, options.top)

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


def measure(folder: str, before: str | None, after: str) -> int:
    """Prints recall of the held-out texts in two spaces, the largest changes first and last."""
    from crosscue.opening.collections import open as open_searchable

    collection = open_searchable(folder)
    found = collection.gain(before or next(iter(collection.collection.spaces), ""), after)
    for text in sorted(found.texts, key=lambda text: text.before - text.after):
        row = f"{100 * text.before:6.1f} -> {100 * text.after:5.1f}  {text.text} ({text.images} marked)"
        sys.stdout.write(f"{row}\n")
    if found.trained:
        sys.stdout.write(f"{found.trained} texts are left out, because a run has learned from their images.\n")
    sys.stdout.write(f"{found.verdict}\n")
    return 0


def suggest(folder: str, file: Path, top: int) -> int:
    """Prints the texts of a file that are worth a mark, each with the number of images that its scores leave possible."""
    from crosscue.opening.collections import open as open_searchable

    if not file.is_file():
        raise DataError(f"{file}: there is no such file. Write texts into it, one a line.")
    texts = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for one in open_searchable(folder).to_mark(texts, top):
        sys.stdout.write(f"{one.possible:6.1f}  {one.text}\n")
    return 0
