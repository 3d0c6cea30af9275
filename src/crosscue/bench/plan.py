"""The jobs of a grid, their optimiser steps, and the time that is left."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crosscue.bench.domains import Domain
from crosscue.bench.grid import Candidate, Grid, Row, Shots
from crosscue.bench.jobs import Job, Towers
from crosscue.data.batches import Batches
from crosscue.data.splits import training_pairs
from crosscue.errors import RunError


@dataclass(frozen=True)
class Choice:
    """The candidate that validation chose."""

    candidate: Candidate
    validation: list[float | None]
    """Validation Rsum of each candidate with the first seed; None where its run failed."""

    @classmethod
    def best(cls, candidates: list[Candidate], validation: list[float | None]) -> Choice | None:
        """Returns the candidate of the highest Rsum, the earlier one of equals; None where every run failed."""
        known = [value for value in validation if value is not None]
        return cls(candidates[validation.index(max(known))], validation) if known else None


@dataclass(frozen=True)
class Plan:
    """The jobs of one cell: its candidates with the first seed, then the chosen one with every seed."""

    grid: Grid
    row: Row
    domain: Domain
    shots: Shots
    towers: Towers
    root: Path

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The candidates that validation chooses from; one where nothing is tuned."""
        return self.grid.candidates_of(self.row.method)

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds; only the first without training."""
        return self.grid.seeds if self.job(self.candidates[0], self.grid.seeds[0]).trains else self.grid.seeds[:1]

    def job(self, candidate: Candidate, seed: int) -> Job:
        """Returns the job of a candidate and a seed."""
        return Job(
            self.row.method,
            self.row.options | candidate.options,
            self.grid.training_of(self.row, candidate, seed),
            self.domain,
            self.shots,
            self.grid.validation,
            self.towers,
            self.root,
        )

    def title(self, candidate: Candidate, seed: int) -> str:
        """Returns the name of a job in progress and failures."""
        if len(self.seeds) == 1 and not self.steps:
            return f"{self.row.label} on {self.domain.name}"
        values = candidate.training | candidate.options if len(self.candidates) > 1 else {}
        words = [f"{self.shots} shots", f"seed {seed}", *(f"{name} {value}" for name, value in values.items())]
        return f"{self.row.label} on {self.domain.name}, {', '.join(words)}"

    def chosen(self) -> Choice | None:
        """Returns the choice of validation; None until all candidates are trained. A single candidate is the choice."""
        if len(self.candidates) == 1:
            return Choice(self.candidates[0], [])
        done = [self.job(candidate, self.seeds[0]).trained() for candidate in self.candidates]
        values = [training.validation for training in done if training is not None]
        return Choice.best(self.candidates, values) if len(values) == len(done) else None

    def jobs(self, choice: Choice | None = None) -> dict[Path, tuple[Candidate, int]]:
        """Returns folder -> (candidate, seed): every candidate with the first seed, then the chosen one with the others.

        Before validation has chosen, the first candidate stands for the chosen one.
        """
        final = choice.candidate if choice is not None else self.candidates[0]
        pairs = [*((c, self.seeds[0]) for c in self.candidates), *((final, seed) for seed in self.seeds)]
        return {self.job(candidate, seed).folder: (candidate, seed) for candidate, seed in pairs}

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of each job; 0 without training.

        Raises:
            DataError: the domain has no validation split and the grid does not set `validation`, or no categories to draw shots of.
            RunError: there are candidates and no validation pairs.
        """
        job = self.job(self.candidates[0], self.grid.seeds[0])
        if not job.trains:
            return 0
        train, val = training_pairs(
            self.domain.learn, None if self.shots == "all" else self.shots, self.grid.validation, self.seeds[0]
        )
        if len(self.candidates) > 1 and val is None:
            raise RunError(
                f"{self.row.label} on {self.domain.name}: candidates are chosen on validation pairs, and there are none. Give "
                "the source a split 'val', hold out a share of the training pairs (--validation 0.1), or leave out candidates."
            )
        batches = len(Batches(train, job.training.batch_size, self.seeds[0]))
        return math.ceil(batches / job.training.gradient_accumulation) * job.training.epochs


def plans(grid: Grid, domains: list[Domain], towers: Towers, root: Path) -> list[Plan]:
    """Returns the cells of a grid in the order they are measured: by domain, then shots, then rows."""
    return [
        Plan(grid, row, domain, shots, towers, root)
        for domain in domains
        for shots in grid.shots
        for row in grid.lines()
    ]


class Pace:
    """Seconds per optimiser step of each method, from the jobs that are done."""

    def __init__(self, cells: Iterable[Plan]) -> None:
        self._seconds: dict[str, float] = {}
        self._done: dict[str, int] = {}
        for plan in cells:
            for candidate, seed in plan.jobs(plan.chosen()).values():
                self.note(plan.job(candidate, seed))

    def note(self, job: Job) -> None:
        """Takes a job into account, if it is done and took steps."""
        training, timing = job.trained(), job.timing()
        if training is not None:
            seconds = timing.training_seconds + timing.measuring_seconds
            self._seconds[job.method] = self._seconds.get(job.method, 0.0) + seconds
            self._done[job.method] = self._done.get(job.method, 0) + training.steps

    def estimate(self, left: Iterable[tuple[str, int]]) -> str:
        """Returns the time of (method, steps) in words; no estimate before the first job is done."""
        done, seconds = sum(self._done.values()), sum(self._seconds.values())
        if not done:
            return "no estimate before the first run"
        rates = {method: self._seconds[method] / self._done[method] for method in self._done}
        return f"about {in_words(sum(steps * rates.get(method, seconds / done) for method, steps in left))} left"


def in_words(seconds: float) -> str:
    """Returns 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
