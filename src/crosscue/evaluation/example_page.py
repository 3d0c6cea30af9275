"""The examples of a report, as its template shows them."""

from __future__ import annotations

from typing import Any

from crosscue.data.features import FeatureRow
from crosscue.data.images import jpeg_url
from crosscue.data.pairs import Pairs
from crosscue.evaluation.caption_notes import CaptionNote, Notes
from crosscue.evaluation.comparison import Comparison
from crosscue.evaluation.example_queries import Example, examples

THUMBNAIL = 128
KINDS = {
    "t2i": ("Captions whose image {} most", "captions", "image"),
    "i2t": ("Images whose captions {} most", "images", "best caption"),
}
"""Direction -> the heading of its examples, its queries, and their right answer."""


def example_parts(
    comparison: Comparison, pairs: Pairs, direction: str, notes: Notes | None = None
) -> list[dict[str, Any]]:
    """Returns the queries of one direction that rose most, and as many that fell most."""
    found = examples(comparison, pairs, direction)
    heading, queries, right = KINDS[direction]
    total = len(comparison.after.ranks[direction].better)
    noted = _noted([*found.rose, *found.fell], direction, notes)
    return [
        {
            "heading": heading.format(verb),
            "note": f"{count:,} of {total:,} {queries} {verb}; the {len(chosen)} with the largest change are shown.",
            "right": right,
            "queries": [_shown(example, pairs, direction, noted) for example in chosen],
        }
        for verb, chosen, count in (("rose", found.rose, found.risen), ("fell", found.fell, found.fallen))
    ]


def _noted(chosen: list[Example], direction: str, notes: Notes | None) -> dict[tuple[int, int], CaptionNote]:
    """Returns (caption, image) -> its note, for a caption as a query beside its image, and for the captions of an image."""
    if notes is None:
        return {}
    if direction == "t2i":
        wanted = [(example.query, image) for example in chosen for image in example.right]
    else:
        wanted = [(c, example.query) for example in chosen for c in [*example.top_before, *example.top_after]]
    wanted = list(dict.fromkeys(wanted))
    return dict(zip(wanted, notes(wanted), strict=True)) if wanted else {}


def _shown(example: Example, pairs: Pairs, direction: str, noted: dict[tuple[int, int], CaptionNote]) -> dict[str, Any]:
    captions = pairs.captions

    def text(caption: int, image: int) -> dict[str, Any]:
        note = noted.get((caption, image), CaptionNote())
        largest = max((weight for _, weight in note.words), default=1.0)
        shades = [(word, weight, round(50 * weight / max(largest, 1e-9))) for word, weight in note.words]
        return {"text": captions[caption], "words": shades, "triplets": note.triplets}

    def candidates(places: list[int]) -> list[dict[str, Any]]:
        made = [_thumbnail(pairs, i) if direction == "t2i" else text(i, example.query) for i in places]
        return [one | {"right": place in example.right} for one, place in zip(made, places, strict=True)]

    query = text(example.query, *example.right) if direction == "t2i" else _thumbnail(pairs, example.query)
    return {
        "query": query | {"right": False},
        "rank_before": example.rank_before,
        "rank_after": example.rank_after,
        "before": candidates(example.top_before),
        "after": candidates(example.top_after),
    }


def _thumbnail(pairs: Pairs, index: int) -> dict[str, Any]:
    """Returns an image of an example for the page; one that is a row of features has no `data`."""
    image = pairs[index].image
    data = None if isinstance(image, FeatureRow) else jpeg_url(image, THUMBNAIL, quality=80)
    return {"data": data, "alt": pairs[index].captions[0]}
