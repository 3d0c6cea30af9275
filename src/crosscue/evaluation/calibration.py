"""Uncertainty of queries against errors of retrieval.

- `largest_probability`: 1 - the probability of the first candidate, by a softmax with the backbone's temperature;
- `calibrated_probability`: the same with the temperature that was fitted on the validation pairs of a run;
- `margin`: 1 - the score of the first candidate above that of the second;
- `vacuity`: the uncertainty of a method of its own (`KnowsUncertainty`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosscue.evaluation.recall import hits
from crosscue.evaluation.result import ARROWS, DIRECTIONS, Retrieval
from crosscue.methods.capabilities import KnowsUncertainty
from crosscue.retrieval.confidence import Divisors, Temperatures, first_candidates

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.retrieval.scores import Scores

BINS = 10
QUERIES_AT_ONCE = 256
PROBABILITIES = ("largest_probability", "calibrated_probability")


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
    """One measure of uncertainty in one direction."""

    bins: list[Bin]
    """Equally many queries each, the most certain first."""
    auroc: float | None
    """Chance that a query answered wrongly is less certain than one answered rightly: 0.5: certainty is chance. 1: it is perfect.
    None: all queries are right, or all are wrong."""

    @property
    def gap(self) -> float:
        """Mean distance of uncertainty and error over the groups; 0 is calibrated. For probabilities only."""
        count = sum(group.queries for group in self.bins)
        return sum(group.queries * abs(group.uncertainty - group.error) for group in self.bins) / count


def calibration(
    method: Method[Any], result: Retrieval, temperatures: Temperatures | None = None
) -> dict[str, dict[str, Calibration]]:
    """Returns direction -> measure -> calibration; nothing for results without scores.

    Uncertainty comes from a query's scores with the gallery alone; which candidate was right is only used to count errors.
    With re-ranking, the scores are those before it and the errors those after it.

    Args:
        method: the evaluated method.
        result: its result.
        temperatures: fitted on the validation pairs of the run.
    """
    if result.scores is None:
        return {}
    chosen, found = divisors(method, result.protocol.get("normalised", "none"), temperatures), {}
    read = None if result.survey is None else result.survey.confidences
    known = (
        read.candidates() if read is not None and read.divisors == chosen else first_candidates(result.scores, *chosen)
    )
    for direction, first in zip(DIRECTIONS, known, strict=True):
        measures = dict(zip(PROBABILITIES, (1 - first.probability).numpy(), strict=False))
        measures["margin"] = (1 - first.margin).numpy()
        if isinstance(method, KnowsUncertainty):
            measures["vacuity"] = uncertainties(method, result.scores, direction)
        error = 1 - hits(result.ranks[direction], 1)
        found[direction] = {name: calibrate(values, error) for name, values in measures.items()}
    return found


def divisors(method: Method[Any], normalised: str, temperatures: Temperatures | None = None) -> Divisors:
    """Returns the temperatures of the probabilities of `calibration`; fitted ones belong to scores that are not normalised."""
    plain = 1 / float(method.backbone.logit_scale)
    if temperatures is None or normalised != "none":
        return (plain,), (plain,)
    return (plain, temperatures.i2t), (plain, temperatures.t2i)


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


def shown(found: dict[str, Calibration]) -> Calibration:
    """Returns the measure that users see: the calibrated probability, without validation pairs the plain one."""
    return next(found[name] for name in reversed(PROBABILITIES) if name in found)


def calibration_rows(found: dict[str, dict[str, Calibration]]) -> list[tuple[str, str, str, str]]:
    """Returns direction, measure, AUROC of a wrong first candidate, and for probabilities the gap to the share of errors."""
    return [
        (
            ARROWS[direction],
            name.replace("_", " "),
            "" if one.auroc is None else f"{one.auroc:.2f}",
            f"{100 * one.gap:.1f}" if name in PROBABILITIES else "",
        )
        for direction, measures in found.items()
        for name, one in measures.items()
    ]


def calibration_record(found: dict[str, dict[str, Calibration]]) -> dict[str, Any]:
    """Returns plain types for JSON."""
    return {
        direction: {
            name: asdict(one) | ({"gap": one.gap} if name in PROBABILITIES else {}) for name, one in measures.items()
        }
        for direction, measures in found.items()
    }
