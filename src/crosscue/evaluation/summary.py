"""A comparison in a few plain lines: the verdict, the recall, and the facts that belong to them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from crosscue.evaluation.comparison import SAME, Comparison


def verdict_line(comparison: Comparison) -> str:
    """Returns the verdict on Rsum, with the number of images it rests on."""
    before, after, change = comparison.before, comparison.after, comparison.total
    if stamp := after.stamp or before.stamp:
        return f"No verdict: {stamp}."
    than = "from" if comparison.verdict == SAME else "than"
    return (
        f"{comparison.verdict} {than} the untouched backbone, on {after.protocol['gallery']:,} images: "
        f"Rsum {before.rsum:.1f} → {after.rsum:.1f}, a change of {change.mean:+.1f} ({change.low:+.1f} to {change.high:+.1f})."
    )


def headline(comparison: Comparison) -> str:
    """Returns the recall at 1 in one line."""
    before, after = comparison.before, comparison.after
    return (
        f"The first answer is right for {after.i2t.r1:.1f} % of the images that look for a caption ({before.i2t.r1:.1f} % before), "
        f"and for {after.t2i.r1:.1f} % of the captions that look for an image ({before.t2i.r1:.1f} % before)."
    )


def facts(comparison: Comparison, run: Mapping[str, str]) -> dict[str, str]:
    """Returns the method, the run, the date, the counts and the protocol, each in words; `run` has those of the run."""
    protocol = comparison.after.protocol
    fewest, most = protocol["captions_per_image"]
    each = f"{most}" if fewest == most else f"{fewest} to {most}"
    return {
        "method": str(protocol["method"]),
        **run,
        "evaluated on": f"{protocol['gallery']:,} images, {protocol['captions']:,} captions ({each} an image), {protocol['source']}",
        "backbone": f"{protocol['backbone']}, {protocol['image_size']} px",
        "protocol": ranking(comparison),
        "date": f"{datetime.date.today():%Y-%m-%d}",
    }


def ranking(comparison: Comparison) -> str:
    """Returns the way in which the queries of a comparison were ranked, in words."""
    protocol = comparison.after.protocol
    parts = ["every image against every caption"]
    if "re-ranking" in protocol:
        parts.append(f"{protocol['re-ranking']}, pre-selected by {protocol['pre-selected_by']}")
    if "enrichment" in protocol:
        parts.append("images with descriptions")
    if protocol.get("normalised", "none") != "none":
        parts.append("normalised by a bank of training queries")
    return "; ".join([*parts, "a tie counts with its expected value"])
