"""Runs a grid: every job once, failures noted, the rest goes on. The same command goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from crosscue.backbones.protocol import Backbone
from crosscue.bench.cells import Cell
from crosscue.bench.grid import Candidate
from crosscue.bench.jobs import Job
from crosscue.bench.plan import Choice, Pace, Plan
from crosscue.errors import CrosscueError, RunError
from crosscue.evaluation.retrieval import Retrieval

Say = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A job that could not be run."""

    job: str
    reason: str


@dataclass
class Measured:
    """What came of a grid."""

    cells: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class Bench:
    """One pass over the plans of a grid."""

    def __init__(self, plans: list[Plan], backbone: Backbone, say: Say) -> None:
        self.plans, self.backbone, self.say = plans, backbone, say
        self.pace = Pace(plans)
        self.measured = Measured()
        self.left = {folder: (plan.row.method, plan.steps) for plan in plans for folder in plan.jobs()}
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
        jobs, results = {seed: plan.job(choice.candidate, seed) for seed in plan.seeds}, dict[int, Retrieval]()
        for seed in plan.seeds:
            result = self._guarded(
                plan, choice.candidate, seed, lambda job: job.measure(self.backbone, plan.row.inference)
            )
            if result is not None:
                results[seed] = result
        if not results:
            return None
        trainings = {seed: done for seed in results if (done := jobs[seed].trained()) is not None}
        timings = {seed: jobs[seed].timing() for seed in results}
        tuned = choice if len(plan.candidates) > 1 else None
        return Cell(plan.row, plan.domain, plan.shots, results, trainings, timings, tuned)

    def _choose(self, plan: Plan) -> Choice | None:
        """Trains the candidates with the first seed and lets validation choose; no test pair is read."""
        if len(plan.candidates) == 1:
            return plan.chosen()
        found: list[float | None] = []
        for candidate in plan.candidates:
            training = self._guarded(plan, candidate, plan.seeds[0], lambda job: job.train(self.backbone))
            found.append(None if training is None else training.validation)
        choice = Choice.best(plan.candidates, found)
        for folder in plan.jobs().keys() - plan.jobs(choice).keys():  # places kept for the chosen candidate
            self.left.pop(folder, None)
        if choice is not None:
            new = plan.jobs(choice).keys() - plan.jobs().keys()
            self.left |= dict.fromkeys(new, (plan.row.method, plan.steps))
        return choice

    def _guarded(self, plan: Plan, candidate: Candidate, seed: int, work: Callable[[Job], Result]) -> Result | None:
        """Says what is done next, does it, and notes a failure instead of ending the grid."""
        job, title = plan.job(candidate, seed), plan.title(candidate, seed)
        if job.folder in self.left:
            number = self.total - len(self.left) + 1
            self.say(f"[{number}/{self.total}] {title} ({self.pace.estimate(self.left.values())})")
            del self.left[job.folder]
        fresh = job.trained() is None
        try:
            result = work(job)
        except CrosscueError as error:
            self.measured.failures.append(Failure(title, str(error)))
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
