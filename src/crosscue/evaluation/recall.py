"""Recall@k from ranks: what to say when the right candidate is tied with others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from crosscue.evaluation.ranks import Ranks

KS = (1, 5, 10)
Ties = Literal["expected", "pessimistic"]


@dataclass(frozen=True)
class Recall:
    """One direction, in percent."""

    r1: float
    r5: float
    r10: float
    mdr: float
    """Median rank of the best positive, ties counted half; 1 is best."""


def hits(ranks: Ranks, k: int, ties: Ties = "expected") -> np.ndarray:
    """Returns (Q,) the chance that a positive is among the first k.

    With g candidates strictly better and a tie group of t that holds p positives, r = clip(k - g, 0, t) places of the group
    are seen. `expected` breaks ties at random: 1 - C(t - p, r) / C(t, r), which is clip((k - g) / t, 0, 1) for p = 1.
    `pessimistic` puts the positives last: r > t - p.
    """
    better, tied, positives = ranks.better, ranks.tied, ranks.tied_positives
    seen = np.clip(k - better, 0, tied)
    if ties == "pessimistic":
        return (seen > tied - positives).astype(np.float64)
    missed = np.ones(len(better))
    for drawn in range(int(seen.max(initial=0))):  # r <= k factors of C(t - p, r) / C(t, r)
        active = drawn < seen
        wrong, left = np.maximum(tied - positives - drawn, 0), np.maximum(tied - drawn, 1)
        missed[active] *= (wrong / left)[active]
    return 1 - missed


def recall(ranks: Ranks, ties: Ties = "expected") -> Recall:
    """Returns R@1, R@5, R@10 in percent and the median rank of one direction."""
    r1, r5, r10 = (100 * float(hits(ranks, k, ties).mean()) for k in KS)
    middle = ranks.better + (ranks.tied - ranks.tied_positives) / 2 + 1
    last = ranks.better + ranks.tied - ranks.tied_positives + 1
    return Recall(r1, r5, r10, float(np.median(middle if ties == "expected" else last)))


def metrics(i2t: Recall, t2i: Recall) -> dict[str, float]:
    """Returns flat numbers for a log: i2t_r1 ... t2i_mdr, rsum."""
    both = {"i2t": i2t, "t2i": t2i}
    flat = {f"{direction}_{key}": value for direction, one in both.items() for key, value in asdict(one).items()}
    return flat | {"rsum": rsum(i2t, t2i)}


def rsum(i2t: Recall, t2i: Recall) -> float:
    """Returns the sum of the six recalls, at most 600."""
    return i2t.r1 + i2t.r5 + i2t.r10 + t2i.r1 + t2i.r5 + t2i.r10
