"""crosscue data negatives SOURCE: add edited captions to pairs with categories, for methods that train on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crosscue.commands.options import read_source
from crosscue.commands.parser import options_parser, taken
from crosscue.data.negatives import NegativesConfig
from crosscue.data.sources import Reading
from crosscue.errors import DataError
from crosscue.source_files import read_lists

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs


@dataclass(frozen=True)
class OutOptions(NegativesConfig):
    """Options of the output."""

    out: Path | None = None
    """JSONL file to write: the pairs of the source with their negatives."""
    tokens_of: str | None = None
    """A backbone whose length limit no negative may exceed, such as starter; default no limit."""
    categories: Literal["uniform", "nearest", "meta"] = "uniform"
    """Choice of the other category. `uniform`: any. `nearest`: one of the 5 with the nearest names, which are harder.
    `meta`: one of the same meta-category."""
    names_of: str = "starter"
    """Backbone whose text tower finds the nearest names, with `--categories nearest`."""
    meta: Path | None = None
    """YAML or JSON file of the meta-categories, each with the list of its categories; with `--categories meta`."""


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
    from crosscue.data.writing import write_pairs

    reading = taken(given, Reading)
    pairs = read_source(given.data, reading)
    count, limit = None, 0
    if given.tokens_of is not None:
        from crosscue.backbones.loading import load_backbone

        backbone = load_backbone(given.tokens_of, device="cpu")
        count, limit = backbone.token_count, backbone.room()
    config = NegativesConfig(given.category, given.attribute, given.seed)
    writer = NegativeWriter(pairs, config, token_count=count, max_tokens=limit, exchanges=exchanges(given, pairs))
    done, report = with_negatives(pairs, writer)
    write_pairs(given.out, done)
    made = ", ".join(f"{number:,} {kind}" for kind, number in sorted(report.counts.items())) or "none"
    sys.stdout.write(
        f"{given.out}: {len(done):,} images, negatives: {made}; {len(report.fewer):,} captions got fewer than "
        f"{config.category + config.attribute}\n"
    )
    return 0


def exchanges(given: Any, pairs: Pairs) -> dict[str, list[str]] | None:
    """Returns the categories that each category may be exchanged for, by `--categories`; None for all.

    Raises:
        DataError: the meta-categories are missing or incomplete.
    """
    from crosscue.data.harder_categories import nearest_names, same_meta

    names = list(pairs.categories)
    if given.categories == "nearest":
        from crosscue.backbones.embedding import embed_texts
        from crosscue.backbones.loading import load_backbone
        from crosscue.methods.registry import build

        tower = build("zero_shot", load_backbone(given.names_of, device="cpu"))
        return nearest_names(names, embed_texts([name.replace("_", " ") for name in names], tower.encode_text))
    if given.categories == "meta":
        if given.meta is None:
            raise DataError(
                "--categories meta needs the meta-categories, such as `animal: [owl, rooster]`. Name their file: "
                "crosscue data negatives SOURCE --categories meta --meta FILE.yaml --out PAIRS.jsonl"
            )
        return same_meta(names, read_lists(given.meta, "animal: [owl, rooster]"), str(given.meta))
    return None
