"""One cell of a table: a row on a domain with a number of shots, over all seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from crosscue.bench.domains import Domain
from crosscue.bench.grid import Row, Shots
from crosscue.bench.jobs import Timing, Training
from crosscue.bench.plan import Choice
from crosscue.evaluation.recall import KS, hits
from crosscue.evaluation.result import DIRECTIONS, Retrieval


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and its standard deviation."""

    mean: float
    deviation: float | None
    """None for a single measurement."""

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Returns the spread of one value a seed."""
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + (f" ± {self.deviation:.1f}" if self.deviation is not None else "")


def recall_spread(results: Iterable[Retrieval], direction: str, k: int) -> Spread:
    """Returns R@k in percent of one result a seed."""
    return Spread.of([getattr(getattr(result, direction), f"r{k}") for result in results])


@dataclass(frozen=True)
class Cell:
    """The results of one row on one domain: one a seed, or a single one without training."""

    row: Row
    domain: Domain
    shots: Shots
    results: dict[int, Retrieval]
    """Seed -> result."""
    trainings: dict[int, Training]
    """Seed -> record of training; empty without training."""
    timings: dict[int, Timing]
    choice: Choice | None
    runs: dict[int, str]
    """Seed -> its folder in jobs/; with training a run folder like those of `crosscue adapt`."""
    evaluations: dict[str, dict[int, Retrieval]] = field(default_factory=dict)
    """Label of an `evaluate:` entry -> seed -> result of the same run."""
    normalised: dict[int, Retrieval] = field(default_factory=dict)
    """Seed -> result of the same run, normalised by a bank of training queries."""

    @property
    def first(self) -> Retrieval:
        """The result of the first seed: its protocol is that of all."""
        return next(iter(self.results.values()))

    @property
    def steps(self) -> int:
        """Optimiser steps of every run; 0 without training."""
        return next((training.steps for training in self.trainings.values()), 0)

    @property
    def learned(self) -> int:
        """Number of trainable parameters."""
        return next((training.learned for training in self.trainings.values()), 0)

    @property
    def seconds(self) -> float:
        """Mean time of training."""
        return statistics.mean(timing.training_seconds for timing in self.timings.values())

    @property
    def memory(self) -> float | None:
        """Largest memory of all runs in MB."""
        return max((t.peak_memory_mb for t in self.timings.values() if t.peak_memory_mb is not None), default=None)

    def recall(self, direction: str, k: int) -> Spread:
        """Returns R@k over the seeds."""
        return recall_spread(self.results.values(), direction, k)

    @cached_property
    def rsum(self) -> Spread:
        """The sum of the six recalls over the seeds."""
        return Spread.of([result.rsum for result in self.results.values()])

    def hits(self, direction: str, k: int) -> np.ndarray:
        """(Q,) share of the seeds with the right answer of each query among the first k."""
        return self._by_seed(direction, k, self.results).mean(0)

    def minus(self, other: Cell, direction: str, k: int) -> np.ndarray:
        """(S, Q) hits minus those of another row, for the S seeds that both have.

        A row without training has one result, which is compared with every seed of the other. Trained rows without a common
        seed are compared by their means.
        """
        if not (self.trainings and other.trainings):
            return self._by_seed(direction, k, self.results) - other._by_seed(direction, k, other.results)
        shared = [seed for seed in self.results if seed in other.results]
        if not shared:
            return (self.hits(direction, k) - other.hits(direction, k))[None]
        return self._by_seed(direction, k, shared) - other._by_seed(direction, k, shared)

    def _by_seed(self, direction: str, k: int, seeds: Iterable[int]) -> np.ndarray:
        """Returns (S, Q) hits, one row a seed."""
        return np.stack([hits(self.results[seed].ranks[direction], k) for seed in seeds])

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON, without anything that differs from machine to machine."""
        recalls = {
            direction: {
                f"r{k}": {"mean": (spread := self.recall(direction, k)).mean, "deviation": spread.deviation} for k in KS
            }
            for direction in DIRECTIONS
        }
        return {
            "row": self.row.label,
            "method": self.row.method,
            "domain": self.domain.name,
            "shots": self.shots,
            **recalls,
            "rsum": {"mean": self.rsum.mean, "deviation": self.rsum.deviation},
            "seeds": {str(seed): result.metrics() for seed, result in self.results.items()},
            "normalised": {str(seed): result.metrics() for seed, result in self.normalised.items()},
            "runs": {str(seed): folder for seed, folder in self.runs.items()},
            "steps": self.steps,
            "learned_parameters": self.learned,
            "chosen": None
            if self.choice is None
            else {
                "training": self.choice.candidate.training,
                "options": self.choice.candidate.options,
                "validation_rsum": self.choice.validation,
            },
        }
