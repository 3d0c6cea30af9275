"""Which jobs a grid is made of, how many steps they take, and how long what is left will last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crosscue.api import training_pairs
from crosscue.bench.domains import Domain
from crosscue.bench.grid import Candidate, Grid, Row, Shots
from crosscue.bench.jobs import Job, Towers
from crosscue.data.batches import Batches


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
        """What validation chooses from; one where nothing is tuned."""
        return self.grid.candidates_of(self.row.method)

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds; only the first where nothing is learned."""
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

    def tuning(self) -> list[Job]:
        """Returns the jobs validation chooses from."""
        return [self.job(candidate, self.seeds[0]) for candidate in self.candidates]

    def final(self, candidate: Candidate) -> dict[int, Job]:
        """Returns seed -> job of the chosen candidate; the first one was trained while tuning."""
        return {seed: self.job(candidate, seed) for seed in self.seeds}

    def all(self) -> list[Job]:
        """Returns all jobs; where validation has not chosen yet, the first candidate stands for the chosen one."""
        return list({job.folder: job for job in (*self.tuning(), *self.final(self.candidates[0]).values())}.values())

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of each job; 0 where nothing is learned.

        Raises:
            DataError: the domain has no validation split and nothing was said about it, or no categories to draw shots of.
        """
        job = self.tuning()[0]
        if not job.trains:
            return 0
        train, _ = training_pairs(
            self.domain.learn, None if self.shots == "all" else self.shots, self.grid.validation, self.seeds[0]
        )
        batches = len(Batches(train, job.training.batch_size, self.seeds[0]))
        return math.ceil(batches / job.training.gradient_accumulation) * job.training.epochs


def plans(grid: Grid, domains: list[Domain], towers: Towers, root: Path) -> list[Plan]:
    """Returns the cells of a grid in the order they are measured: domain by domain, the rows of each side by side."""
    return [
        Plan(grid, row, domain, shots, towers, root)
        for domain in domains
        for shots in grid.shots
        for row in grid.lines()
    ]


class Pace:
    """How long jobs take, from those that are done: seconds per optimiser step of each method."""

    def __init__(self, cells: Iterable[Plan]) -> None:
        self.steps = {job.folder: plan.steps for plan in cells for job in plan.all()}
        self._seconds: dict[str, float] = {}
        self._done: dict[str, int] = {}
        for plan in cells:
            for job in plan.all():
                if job.trained() is not None:
                    self.note(job)

    def note(self, job: Job) -> None:
        """Takes a finished job into account."""
        training, timing = job.trained(), job.timing()
        if training is not None:
            seconds = timing.training_seconds + timing.measuring_seconds
            self._seconds[job.method] = self._seconds.get(job.method, 0.0) + seconds
            self._done[job.method] = self._done.get(job.method, 0) + training.steps

    def estimate(self, left: Iterator[tuple[str, int]]) -> str:
        """Returns in words how long (method, steps) will take; no guess before the first job is done."""
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
