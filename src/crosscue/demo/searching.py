"""The last part of the demo: the test emoji as a collection, searched with the untouched and with the adapted model."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from crosscue.data.pairs import ImageFile
from crosscue.demo.emoji import glyph
from crosscue.methods.registry import build
from crosscue.opening.collections import OpenedCollection
from crosscue.opening.collections import open as open_searchable
from crosscue.run import Run

if TYPE_CHECKING:
    from rich.console import Console

    from crosscue.data.pairs import Pairs
    from crosscue.search.hits import Hits

QUERIES = ("a fruit", "rain and thunder", "people in love")
BEFORE, AFTER = "before", "after"
SHOWN = 8
"""Hits of a query."""


def search_demo(console: Console, run: Run, pairs: Pairs, out: Path) -> OpenedCollection:
    """Indexes the images of `pairs` with both models into `out/emoji.crosscue`, and prints three queries side by side."""
    images, place = out / "emoji", out / "emoji.crosscue"
    for pair in pairs:
        assert isinstance(pair.image, ImageFile)
        target = images / f"{pair.image_id}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pair.image.path, target)
    untouched = Run(build("zero_shot", run.method.backbone).eval())
    collection = open_searchable(place, run=untouched, name=BEFORE)
    collection.add(images, run=run, name=AFTER)
    table = Table(
        "query", BEFORE, AFTER, title=f"Search of {len(collection):,} emoji with words of your own", show_lines=True
    )
    for query in QUERIES:
        table.add_row(query, *(_glyphs(collection.search(query, SHOWN, space, all=True)) for space in (BEFORE, AFTER)))
    console.print(table)
    console.print("Words of your own, in both models side by side:", highlight=False)
    console.print(
        f'  crosscue search "something to read" --collection {shlex.quote(str(place))} --compare {BEFORE}',
        highlight=False,
    )
    console.print("In a browser:", highlight=False)
    console.print(f"  crosscue serve {shlex.quote(str(place))} --open", highlight=False)
    console.print("Your own images:", highlight=False)
    console.print("  crosscue adapt --data MY_IMAGES --out runs/mine", highlight=False)
    console.print("  crosscue index MY_IMAGES --run runs/mine", highlight=False)
    console.print('  crosscue search "a red bicycle" --collection MY_IMAGES', highlight=False)
    return collection


def _glyphs(hits: Hits) -> str:
    return "  ".join(glyph(f"{Path(hit.path).parent.name}/{Path(hit.path).stem}") for hit in hits)
