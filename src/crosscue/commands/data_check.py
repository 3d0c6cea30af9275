"""crosscue data check SOURCE: report the faults of a source of pairs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from crosscue.commands.options import put_json, read_source
from crosscue.commands.parser import options_parser, taken
from crosscue.data.sources import Reading

if TYPE_CHECKING:
    from crosscue.data.audit import Audit

SHOWN = 20
"""Largest number of lines of one kind on the terminal; --json has all."""


@dataclass(frozen=True)
class CheckOptions:
    """Options of the check."""

    tokens_of: str | None = None
    """Backbone whose length limit captions are compared with, such as starter; default no limit."""
    open_images: bool = True
    """Open every image. Without, unreadable and identical images are not found, and the check takes seconds."""
    json: bool | Path = False
    """JSON file of all faults. Without a value the JSON is the only text on standard output."""


def run(arguments: list[str]) -> int:
    """Runs `data check`; the exit code is 1 if training or evaluation would fail or be wrong."""
    parser = options_parser(
        "data check", "Report the faults of a source of pairs.", (Reading, None), (CheckOptions, None)
    )
    parser.add_argument("data", help="Source of pairs.")
    given = parser.instantiate(parser.parse_args(arguments))

    from crosscue.data.audit import audit

    faults: dict[str, list[str]] = {}
    pairs = read_source(given.data, taken(given, Reading), faults)
    count, limit = None, 0
    if given.tokens_of is not None:
        from crosscue.backbones.loading import load_backbone

        backbone = load_backbone(given.tokens_of, device="cpu")
        limit = backbone.room()
        count = backbone.token_count
    found = audit(pairs, token_count=count, max_tokens=limit, images=given.open_images, faults=faults)
    show(found, sys.stderr if given.json is True else sys.stdout)
    put_json(given.json, found.to_dict())
    return 1 if found.blocking else 0


def show(found: Audit, out: TextIO) -> None:
    """Writes the counts as a table and every kind of problem with its first examples."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, soft_wrap=True)
    table = Table(title=Text(found.source))
    counts = ("images", "captions", "categories", "shared captions", "largest group")
    for column in ("split", *counts, "R@1 ceiling i2t / t2i"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for name, split in found.splits.items():
        numbers = (split.images, split.captions, split.categories, split.duplicate_captions, split.largest_group)
        table.add_row(Text(name), *(f"{n:,}" for n in numbers), f"{split.i2t_ceiling:.2f} / {split.t2i_ceiling:.2f}")
    console.print(table)
    for line in (*found.features, *found.uses):
        console.print(line, markup=False, highlight=False)
    problems: list[tuple[str, list[str]]] = [
        *found.faults.items(),
        ("unreadable images", [f"{name}: {reason}" for name, reason in found.unreadable]),
        ("empty captions", found.empty_captions),
        ("common to two splits", found.leaks),
        (
            "captions longer than the text tower",
            [f"{where}: {over} tokens are lost" for where, over in found.long_captions],
        ),
        ("identical images", [", ".join(names) for names in found.same_images]),
        ("converted when opened", [f"{name}: {what}" for name, what in found.converted]),
    ]
    for title, lines in problems:
        if lines:
            console.print(f"[bold]{title}: {len(lines):,}[/]")
            for line in lines[:SHOWN]:
                console.print(f"  {line}", markup=False, highlight=False)
            if len(lines) > SHOWN:
                console.print(f"  ... and {len(lines) - SHOWN:,} more (--json FILE writes all)")
    out.write("not usable as it is\n" if found.blocking else "nothing stands in the way\n")
