"""Runs a grid: every job once, failures noted, the rest goes on. The same command goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone
from crosscue.bench.cells import Cell
from crosscue.bench.grid import Candidate, Evaluation
from crosscue.bench.jobs import Job
from crosscue.bench.plan import Choice, Pace, Plan
from crosscue.bench.published import first, require_published
from crosscue.data.pairs import Pairs
from crosscue.errors import CrosscueError, RunError
from crosscue.evaluation.result import Retrieval

Say = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A job that could not be run."""

    job: str
    reason: str


class Bench:
    """One pass over the plans of a grid."""

    def __init__(
        self, plans: list[Plan], backbone: Backbone, say: Say, others: Mapping[str, Pairs] | None = None
    ) -> None:
        self.plans, self.backbone, self.say = plans, backbone, say
        self.others = others or {}
        self.towers: dict[int | None, Backbone] = {}
        self.pace = Pace(plans)
        self.cells: list[Cell] = []
        self.failures: list[Failure] = []
        self.left = {folder: (plan.row.method, plan.steps) for plan in plans for folder in plan.jobs()}
        self.total = len(self.left)

    def run(self) -> None:
        """Runs the jobs that are not done.

        Raises:
            RunError: methods took different numbers of optimiser steps, or a row without training is not as published. Then
                their numbers must not be compared.
            KeyboardInterrupt: the user stopped it.
        """
        found = {}
        for plan in first(self.plans):
            if (cell := self._cell(plan)) is not None:
                require_published(plan, cell.first)
                found[id(plan)] = cell
        self.cells += [found[id(plan)] for plan in self.plans if id(plan) in found]
        require_equal_steps(self.cells)

    def _cell(self, plan: Plan) -> Cell | None:
        choice = self._choose(plan)
        if choice is None:
            return None
        jobs, results = {seed: plan.job(choice.candidate, seed) for seed in plan.seeds}, dict[int, Retrieval]()
        inference = plan.row.inference
        for seed, job in jobs.items():
            self._announce(plan, choice.candidate, seed, done=job.result(inference) is not None)
            result = self._guarded(plan, choice.candidate, seed, lambda job: job.measure(self.backbone, inference))
            if result is not None:
                results[seed] = result
        if not results:
            return None
        trainings = {seed: done for seed in results if (done := jobs[seed].trained()) is not None}
        timings = {seed: jobs[seed].timing() for seed in results}
        tuned = choice if len(plan.candidates) > 1 else None
        runs = {seed: jobs[seed].folder.name for seed in results}
        again = {
            entry.label: found
            for entry in plan.grid.evaluate
            if entry.row == plan.row.label and (found := self._again(plan, choice.candidate, entry, list(results)))
        }
        bank = replace(inference, normalise="bank")
        plain = inference.normalise == "none"
        normalised = {seed: kept for seed in results if plain and (kept := jobs[seed].result(bank)) is not None}
        return Cell(plan.row, plan.domain, plan.shots, results, trainings, timings, tuned, runs, again, normalised)

    def _again(self, plan: Plan, candidate: Candidate, entry: Evaluation, seeds: list[int]) -> dict[int, Retrieval]:
        """Evaluates the runs of a cell again; seed -> result."""
        pairs = plan.domain.test if entry.data is None else self.others[entry.data]
        found = {}
        for seed in seeds:
            self.say(f"{entry.label}: {plan.title(candidate, seed)}")
            result = self._guarded(
                plan, candidate, seed, lambda job: job.evaluate(self._tower(plan, entry), pairs, entry.inference)
            )
            if result is not None:
                found[seed] = result
        return found

    def _tower(self, plan: Plan, entry: Evaluation) -> Backbone:
        """Returns the backbone at the image size of an evaluation."""
        if entry.image_size in (None, self.backbone.pixels.size):
            return self.backbone
        if entry.image_size not in self.towers:
            towers, device = plan.towers, str(self.backbone.device)
            self.towers[entry.image_size] = load_backbone(
                towers.backbone, image_size=entry.image_size, precision=towers.precision, device=device
            )
        return self.towers[entry.image_size]

    def _choose(self, plan: Plan) -> Choice | None:
        """Trains the candidates with the first seed and returns the choice of validation; no test pair is read."""
        if len(plan.candidates) == 1:
            return plan.chosen()
        found, first = list[float | None](), plan.seeds[0]
        for candidate in plan.candidates:
            self._announce(plan, candidate, first, done=plan.job(candidate, first).trained() is not None)
            training = self._guarded(plan, candidate, first, lambda job: job.train(self.backbone))
            found.append(None if training is None else training.validation)
        choice = Choice.best(plan.candidates, found)
        expected, real = plan.jobs().keys(), plan.jobs(choice).keys() if choice is not None else set[Path]()
        for folder in expected - real:  # the first candidate kept the places of the chosen one
            self.left.pop(folder, None)
        self.left |= dict.fromkeys(real - expected, (plan.row.method, plan.steps))
        return choice

    def _announce(self, plan: Plan, candidate: Candidate, seed: int, *, done: bool) -> None:
        """Reports the next job once, unless it is done."""
        folder = plan.job(candidate, seed).folder
        if folder in self.left:
            number, estimate = self.total - len(self.left) + 1, self.pace.estimate(self.left.values())
            del self.left[folder]
            if not done:
                self.say(f"[{number}/{self.total}] {plan.title(candidate, seed)} ({estimate})")

    def _guarded(self, plan: Plan, candidate: Candidate, seed: int, work: Callable[[Job], Result]) -> Result | None:
        """Does a piece of a job, and notes a failure instead of ending the grid."""
        job = plan.job(candidate, seed)
        fresh = job.trained() is None
        try:
            result = work(job)
        except CrosscueError as error:
            self.failures.append(Failure(plan.title(candidate, seed), str(error)))
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
