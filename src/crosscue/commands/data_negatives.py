"""crosscue data negatives SOURCE: adds edited captions to pairs with categories, for methods that learn from them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crosscue.commands.parser import options_parser
from crosscue.data.negatives import NegativesConfig
from crosscue.data.sources import Reading
from crosscue.errors import DataError

if TYPE_CHECKING:
    from crosscue.data.pairs import Pair


@dataclass(frozen=True)
class OutOptions(NegativesConfig):
    """How many, and where to."""

    out: Path | None = None
    """The JSONL file to write; it holds the pairs of the source with their negatives."""
    tokens_of: str | None = None
    """A backbone whose length limit negatives are held against, e.g. starter."""


def run(arguments: list[str]) -> int:
    """Writes the pairs with negatives."""
    parser = options_parser(
        "data negatives",
        "Adds edited captions: of another category, and wrong in one attribute.",
        (Reading, None),
        (OutOptions, None),
    )
    parser.add_argument("data", help="Source of pairs with categories.")
    given = parser.instantiate(parser.parse_args(arguments))
    if given.out is None:
        raise DataError("say where to write the pairs: crosscue data negatives SOURCE --out PAIRS.jsonl")

    from crosscue.data.negatives import NegativeWriter, with_negatives
    from crosscue.data.sources import read_pairs
    from crosscue.storage import write_text

    reading = Reading(**{name: getattr(given, name) for name in Reading.__dataclass_fields__})
    pairs = read_pairs(given.data, reading=reading)
    count, limit = None, 0
    if given.tokens_of is not None:
        from crosscue.backbones.loading import load_backbone

        backbone = load_backbone(given.tokens_of, device="cpu")
        count, limit = backbone.token_count, backbone.room()
    config = NegativesConfig(given.category, given.attribute, given.seed)
    done, report = with_negatives(pairs, NegativeWriter(pairs, config, token_count=count, max_tokens=limit))
    lines = [json.dumps(record(pair, given.out.parent), ensure_ascii=False) for pair in done]
    write_text(given.out, "\n".join(lines) + "\n")
    made = ", ".join(f"{number:,} {kind}" for kind, number in sorted(report.counts.items())) or "none"
    sys.stdout.write(
        f"{given.out}: {len(done):,} pictures, negatives: {made}; {len(report.fewer):,} captions got fewer than "
        f"{config.category + config.attribute}\n"
    )
    return 0


def record(pair: Pair, folder: Path) -> dict[str, object]:
    """Returns a row of the JSONL file; the picture's path is relative to the file's folder.

    Raises:
        DataError: the picture is inside a table, so no path leads to it.
    """
    from crosscue.data.pairs import ImageFile

    if not isinstance(pair.image, ImageFile):
        raise DataError(
            f"{pair.where}: the picture is inside a table, and a JSONL file can only name files. Save the pictures of this "
            "source as files first."
        )
    row: dict[str, object] = {
        "image": os.path.relpath(pair.image.path.resolve(), folder.resolve()),
        "image_id": pair.image_id,
        "captions": list(pair.captions),
        "category": pair.category,
        "negatives": [negative.to_dict() for negative in pair.negatives],
    }
    known = {"split": pair.split, "synthetic": pair.synthetic}
    return row | {name: value for name, value in known.items() if value is not None}
