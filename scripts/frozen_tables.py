"""Tables of scripts/frozen_dcar.py."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscue.intervals import Difference, differences, holm
from crosscue.markdown import markdown_table

if TYPE_CHECKING:
    from frozen_dcar import Found

HEADS = [
    f"{direction} {name}" for direction in ("i2t", "t2i") for name in ("R@1", "R@1, normalised", "R@5", "R@10")
] + ["Rsum"]


def pages(results: dict[str, Found], claims: Sequence[tuple[str, str, str]], about: str) -> tuple[dict[str, Any], str]:
    """Returns the record and the page of all rows; the page begins with `about`."""
    tested = {direction: tests(results, claims, direction) for direction in ("i2t", "t2i")}
    recalls = [
        [label, *(spread([one[head] for one in found.recalls]) for head in HEADS)] for label, found in results.items()
    ]
    kinds = ["category (plain)", "attribute (plain)", "category (caa)", "attribute (caa)"]
    edits = [
        [label, *(spread([one[kind] for one in found.edits]) if kind in found.edits[0] else "" for kind in kinds)]
        for label, found in results.items()
    ]
    compared = [
        [claim, *(in_words(*tested[direction][place]) for direction in ("i2t", "t2i"))]
        for place, (claim, _, _) in enumerate(claims)
    ]
    text = "\n".join(
        [
            "# DCAR behind frozen towers",
            "",
            about,
            "",
            "R@k in percent: mean ± standard deviation over the seeds.",
            "",
            "## Recall",
            "",
            markdown_table(["", *HEADS], recalls),
            "",
            "## Claims",
            "",
            "R@1 in points: difference, paired 95 % bootstrap interval over images and seeds, and p after Holm's correction over the claims.",
            "",
            markdown_table(["", "i2t", "t2i"], compared),
            "",
            "## Minimal pairs",
            "",
            "Own caption preferred to an edited one, in percent of the contests. The edited category has one of the five nearest names.",
            "",
            markdown_table(["", *kinds], edits),
            "",
        ]
    )
    rows = {label: {"recalls": found.recalls, "edits": found.edits} for label, found in results.items()}
    record = {
        "rows": rows,
        "claims": [
            {"claim": claim, "row": row, "over": over}
            | {d: vars(tested[d][place][0]) | {"holm": tested[d][place][1]} for d in tested}
            for place, (claim, row, over) in enumerate(claims)
        ],
    }
    return record, text


def untrained_section(found: dict[str, dict[str, float]]) -> str:
    """Returns the section of the training pairs before training."""
    heads = list(next(iter(found.values())))
    rows = [[label, *(f"{one[head]:.1f}" for head in heads)] for label, one in found.items()]
    about = "The training pairs before training. Captions are weighted by an image, so these rows see the pairing."
    return f"\n## Before training\n\n{about}\n\n{markdown_table(['', *heads], rows)}\n"


def tests(
    results: dict[str, Found], claims: Sequence[tuple[str, str, str]], direction: str
) -> list[tuple[Difference, float]]:
    """Returns each claim's difference in R@1, and its p after Holm's correction."""
    changes = [
        np.stack(results[row].hits[direction]) - np.stack(results[over].hits[direction]) for _, row, over in claims
    ]
    found = differences(changes, np.arange(changes[0].shape[1]))
    return list(zip(found, holm([one.p for one in found]), strict=True))


def in_words(found: Difference, p: float) -> str:
    """Returns a difference with its interval and p."""
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f}), p {p:.4f}"


def spread(values: Sequence[float]) -> str:
    """Returns mean ± standard deviation, or the one value."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
