"""Does a method know when it is wrong? Its uncertainty about a query against what retrieval got wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosscue.evaluation.recall import hits
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.methods.capabilities import KnowsUncertainty

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.retrieval.scores import Scores

BINS = 10
QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Bin:
    """Queries of similar uncertainty."""

    queries: int
    uncertainty: float
    """Mean uncertainty of these queries."""
    error: float
    """Share of them whose first candidate is wrong."""


@dataclass(frozen=True)
class Calibration:
    """One direction."""

    bins: list[Bin]
    """Equally many queries each, the most certain first."""
    auroc: float | None
    """Chance that a query answered wrongly is less certain than one answered rightly: 0.5: certainty is chance. 1: it is perfect.
    None: all queries are right, or all are wrong."""


def calibration(method: Method[Any], result: Retrieval) -> dict[str, Calibration]:
    """Returns the calibration of both directions; nothing for methods without uncertainty and for results without scores.

    Uncertainty comes from a query's scores with the gallery alone; which candidate was right is only used to count errors.
    """
    if result.scores is None or not isinstance(method, KnowsUncertainty):
        return {}
    return {
        direction: calibrate(uncertainties(method, result.scores, direction), 1 - hits(result.ranks[direction], 1))
        for direction in DIRECTIONS
    }


def uncertainties(method: KnowsUncertainty, scores: Scores, direction: str) -> np.ndarray:
    """Returns (Q,) `KnowsUncertainty.query_uncertainty` of the queries of a direction."""
    every, parts = slice(None), []
    for start in range(0, scores.image_count if direction == "i2t" else scores.caption_count, QUERIES_AT_ONCE):
        chosen = slice(start, start + QUERIES_AT_ONCE)
        block = scores.block(chosen, every)[0] if direction == "i2t" else scores.block(every, chosen)[1].T
        parts.append(method.query_uncertainty(block))
    return torch.cat(parts).numpy()


def calibrate(uncertainty: np.ndarray, error: np.ndarray, bins: int = BINS) -> Calibration:
    """Compares uncertainties (Q,) with errors (Q,) in 0 .. 1."""
    order = np.argsort(uncertainty, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    rows = [Bin(len(group), float(uncertainty[group].mean()), float(error[group].mean())) for group in groups]
    wrong, right = uncertainty[error > 0.5], np.sort(uncertainty[error <= 0.5])
    if not len(wrong) or not len(right):
        return Calibration(rows, None)
    below = np.searchsorted(right, wrong, "left") + np.searchsorted(right, wrong, "right")  # ties count half
    return Calibration(rows, float(below.mean() / (2 * len(right))))
