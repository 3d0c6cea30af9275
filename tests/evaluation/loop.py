"""Ranks from a plain loop, to compare the fast ones with."""

from __future__ import annotations

import numpy as np

from crosscue.evaluation.ranks import Ranks


def by_hand(scores: np.ndarray, positive: np.ndarray) -> Ranks:
    """Returns ranks from (Q, C) scores and (Q, C) bool, one query at a time."""
    rows = []
    for values, right in zip(scores, positive, strict=True):
        best = values[right].max()
        tied = values == best
        rows.append(((values > best).sum(), tied.sum(), (tied & right).sum()))
    return Ranks(*map(np.array, zip(*rows, strict=True)))
