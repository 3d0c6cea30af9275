"""Runs a grid: every job once, failures noted, the rest goes on. The same command goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from crosscue.backbones.protocol import Backbone
from crosscue.bench.cells import Cell, Choice
from crosscue.bench.jobs import Job
from crosscue.bench.plan import Pace, Plan
from crosscue.errors import CrosscueError, RunError
from crosscue.evaluation.retrieval import Retrieval

Say = Callable[[str], None]
Result = TypeVar("Result")


@dataclass
class Measured:
    """What came of a grid."""

    cells: list[Cell] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Job -> why it failed."""


class Bench:
    """One pass over the plans of a grid."""

    def __init__(self, plans: list[Plan], backbone: Backbone, say: Say) -> None:
        self.plans, self.backbone, self.say = plans, backbone, say
        self.pace = Pace(plans)
        self.measured = Measured()
        self.left = {job.folder: (job.method, plan.steps) for plan in plans for job in plan.all()}
        self.total = len(self.left)

    def run(self) -> Measured:
        """Runs what is not there yet.

        Raises:
            RunError: methods took different numbers of optimiser steps, so their numbers must not be compared.
            KeyboardInterrupt: the user stopped it.
        """
        for plan in self.plans:
            cell = self._cell(plan)
            if cell is not None:
                self.measured.cells.append(cell)
        require_equal_steps(self.measured.cells)
        return self.measured

    def _cell(self, plan: Plan) -> Cell | None:
        choice = self._choose(plan)
        if choice is None:
            return None
        results: dict[int, Retrieval] = {}
        jobs = plan.final(choice.candidate)
        for seed, job in jobs.items():
            result = self._guarded(job, lambda job: job.measure(self.backbone, plan.row.inference))
            if result is not None:
                results[seed] = result
        if not results:
            return None
        trainings = {seed: done for seed in results if (done := jobs[seed].trained()) is not None}
        timings = {seed: jobs[seed].timing() for seed in results}
        tuned = choice if len(plan.candidates) > 1 else None
        return Cell(plan.row, plan.domain, plan.shots, results, trainings, timings, tuned)

    def _choose(self, plan: Plan) -> Choice | None:
        """Returns the candidate with the best validation Rsum of the first seed, the earlier one of equals; no test pair is read."""
        if len(plan.candidates) == 1:
            return Choice(plan.candidates[0], [])
        found: list[float | None] = []
        for job in plan.tuning():
            training = self._guarded(job, lambda job: job.train(self.backbone))
            if training is not None and training.validation is None:
                raise RunError(
                    f"{job.title}: nothing validates, so nothing can be chosen. Leave out --validation false."
                )
            found.append(None if training is None else training.validation)
        known = [value for value in found if value is not None]
        return Choice(plan.candidates[found.index(max(known))], found) if known else None

    def _guarded(self, job: Job, work: Callable[[Job], Result]) -> Result | None:
        """Says what is done next, does it, and notes a failure instead of ending the grid."""
        if job.folder in self.left:
            number = self.total - len(self.left) + 1
            self.say(f"[{number}/{self.total}] {job.title} ({self.pace.estimate(iter(self.left.values()))})")
            del self.left[job.folder]
        fresh = job.trained() is None
        try:
            result = work(job)
        except CrosscueError as error:
            self.measured.failures[job.title] = str(error)
            return None
        if fresh:
            self.pace.note(job)
        return result


def require_equal_steps(cells: list[Cell]) -> None:
    """Raises `RunError` where trained rows of one domain and number of shots took different numbers of optimiser steps."""
    seen: dict[tuple[str, str], tuple[str, int]] = {}
    for cell in cells:
        for training in cell.trainings.values():
            label, steps = seen.setdefault((cell.domain.name, str(cell.shots)), (cell.row.label, training.steps))
            if training.steps != steps:
                raise RunError(
                    f"{cell.domain.name}, {cell.shots} shots: '{label}' took {steps} optimiser steps and '{cell.row.label}' "
                    f"{training.steps}. Rows are compared at equal steps."
                )
