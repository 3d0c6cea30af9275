"""crosscue data negatives SOURCE: add edited captions to pairs with categories, for methods that train on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser, taken
from crosscue.data.negatives import NegativesConfig
from crosscue.data.sources import Reading
from crosscue.errors import DataError


@dataclass(frozen=True)
class OutOptions(NegativesConfig):
    """Options of the output."""

    out: Path | None = None
    """JSONL file to write: the pairs of the source with their negatives."""
    tokens_of: str | None = None
    """A backbone whose length limit no negative may exceed, such as starter; default no limit."""


def run(arguments: list[str]) -> int:
    """Writes the pairs with negatives."""
    parser = options_parser(
        "data negatives",
        "Add edited captions: of another category, and wrong in one attribute.",
        (Reading, None),
        (OutOptions, None),
    )
    parser.add_argument("data", help="Source of pairs with categories.")
    given = parser.instantiate(parser.parse_args(arguments))
    if given.out is None:
        raise DataError("no output file. Name one: crosscue data negatives SOURCE --out PAIRS.jsonl")

    from crosscue.data.negatives import NegativeWriter, with_negatives
    from crosscue.data.sources import read_pairs
    from crosscue.data.writing import write_pairs

    reading = taken(given, Reading)
    pairs = read_pairs(given.data, reading=reading)
    count, limit = None, 0
    if given.tokens_of is not None:
        from crosscue.backbones.loading import load_backbone

        backbone = load_backbone(given.tokens_of, device="cpu")
        count, limit = backbone.token_count, backbone.room()
    config = NegativesConfig(given.category, given.attribute, given.seed)
    done, report = with_negatives(pairs, NegativeWriter(pairs, config, token_count=count, max_tokens=limit))
    write_pairs(given.out, done)
    made = ", ".join(f"{number:,} {kind}" for kind, number in sorted(report.counts.items())) or "none"
    sys.stdout.write(
        f"{given.out}: {len(done):,} images, negatives: {made}; {len(report.fewer):,} captions got fewer than "
        f"{config.category + config.attribute}\n"
    )
    return 0
