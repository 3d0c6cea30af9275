"""Choice of a method by successive halving on validation Rsum, within a budget of time.

    floor      the untouched model
    heads      methods behind frozen towers: every rate is trained to the end, because a step takes milliseconds
    rung 0     the other candidates, few steps; a short budget tries the most promising ones alone
    rung 1     the best third of them, more steps
    rung 2     the best of them, most steps

Each rung takes an equal share of the time that is left, and its candidates take equal numbers of steps: at most those of
`STEPS`. So the search depends on the seed alone where the budget does not bind. A rung that would be hardly longer than the one
before is left out. A rung trains from the start, so the winner is a run like any other. The test split is never read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.errors import CrosscueError, MethodError, TrainingError
from crosscue.methods.registry import build
from crosscue.progress import note
from crosscue.retrieval.bank import SIZE
from crosscue.selection.budget import Budget, least_budget
from crosscue.selection.candidates import LONG, STEP, Candidate, candidates, lacking
from crosscue.selection.training import TIMED_STEPS, Trainee, untrained
from crosscue.selection.trials import PLAN, SPENT, Study, Trial

if TYPE_CHECKING:
    from crosscue.selection.pool import Pool
    from crosscue.training.config import TrainingConfig

HEAD_STEPS, LEAST_HEAD_STEPS = 400, 20
STEPS = (40, 120, 360)
"""Optimiser steps of a candidate in each rung, if the budget does not bind."""
LEAST_STEPS = 24
"""Steps of the first rung that every candidate gets; those of little promise are left out for it."""
RESERVED = 2
"""Time kept for what follows the trials: the winner's normalised scores and its banks, each of which encodes its images once."""
KEPT = 3
"""A rung is entered by the best 1 / KEPT of the rung before."""
LONGER = 2
"""Steps of a rung, relative to those of the rung before, below which it would tell nothing new. Its time goes to the last one,
which only has to be longer."""
TIMING_SHARE = 0.2
"""Share of the time left that the timing of steps may take. The most promising methods are timed first."""
HEADS_SHARE = 0.25
"""Share of the time left that the heads may take."""
HEADS_RUNG = 3
"""Number of the heads' rung in the study."""
RARELY, OFTEN = 2, 4
"""Validations of a short and of a long training, with that of the untrained method."""
PLANNED = 0.9
"""Share of the time left that the rungs plan with; their methods are built in the rest."""


class Search:
    """A search over the candidates of a pool of pairs."""

    def __init__(self, pool: Pool, base: TrainingConfig, folder: Path, budget: Budget, study: Study) -> None:
        """Keeps the input of a search; `folder` receives a folder for each trial."""
        self.pool, self.base, self.folder, self.budget, self.study = pool, base, folder, budget, study
        self.plan: dict[str, Any] = study.noted(PLAN, {})
        self.lacking = lacking(pool.pairs)
        self.left_out: dict[str, str] = dict(self.lacking)
        self.trials: list[Trial] = []
        self.validation = 0.0
        """Seconds of a validation behind frozen towers."""
        self.normalised: Trial
        """The untouched model with normalised scores, once `run` has begun."""

    def run(self) -> list[Trial]:
        """Returns the trials: first the untouched model, then those of the heads and the rungs.

        Raises:
            TrainingError: the budget is too small for one method; the message contains the least.
            Interrupted: the user stopped a training.
        """
        self.pool.fill()  # so that no step and no validation is timed with it
        self.trials.append(self.untouched())
        self.validation = self.trials[0].seconds / len(self.pool.folds)
        self.normalised = self.untouched(normalised=True)
        self.budget.reserve(RESERVED * self.normalised.seconds)
        every = self.candidates
        costs = self.costs(candidate for candidate in every if candidate.head)
        heads = [candidate for candidate in every if candidate.head and candidate.method in costs]
        self.trials += self.rung(HEADS_RUNG, heads, self.head_steps(heads, costs), costs)
        promising = sorted((one for one in every if not one.head), key=lambda one: one.promise)
        costs = self.costs(promising)
        self.budget.reserve(RESERVED * self.encoding(costs))
        rest = [candidate for candidate in every if not candidate.head and candidate.method in costs]
        self.trials += self.halved(self.affordable(rest, costs), costs)
        if len(self.trials) == 1:
            reasons = {name: reason for name, reason in self.left_out.items() if name not in self.lacking}
            told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            more = least_budget(self.budget.seconds)
            raise TrainingError(
                f"no method could be trained ({told}). Give more time, e.g. --budget {more}, or name a method: --method linear_probe"
            )
        return self.trials

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates, the cheapest first."""
        return candidates(self.pool.backbone, self.pool.frozen_layers)

    def encoding(self, costs: dict[str, float]) -> float:
        """Returns the seconds in which the slowest method encodes the images of a bank and those of a validation."""
        fold = self.pool.folds[0]
        timed = [one for one in self.candidates if not one.head and one.method in costs]
        return (min(len(fold.train), SIZE) + len(fold.val)) * max(
            (self.per_image(one, costs) for one in timed), default=0.0
        )

    def per_image(self, candidate: Candidate, costs: dict[str, float]) -> float:
        """Returns the expected seconds in which a candidate encodes an image through the layers that learn."""
        return costs[candidate.method] / (STEP * candidate.batch_size(self.base))

    def halved(self, rest: list[Candidate], costs: dict[str, float]) -> list[Trial]:
        """Returns the trials of the rungs. One that would tell nothing new is left out, and the best third of its candidates go on.

        A single candidate goes to the last rung at once.
        """
        every, trials, before = list[Trial](), list[Trial](), 0
        for rung, most in enumerate(STEPS):
            if not rest:
                break
            steps, last = self.steps(rung, most, rest, costs), rung == len(STEPS) - 1
            telling = steps > before if last else len(rest) > 1 and steps >= LONGER * before
            if telling:
                trials, before = self.rung(rung, rest, steps, costs), steps
                every += trials
            if before:
                trials = sorted(trials, key=lambda trial: -trial.rsum)[: -(-len(rest) // KEPT)]
                rest = [candidate for candidate in rest if candidate.name in {trial.name for trial in trials}]
        return every

    def untouched(self, *, normalised: bool = False) -> Trial:
        """Returns the untouched model as a trial without steps."""
        method = build("zero_shot", self.pool.backbone).eval()
        return untrained(method, self.pool, self.budget.clock, normalised=normalised)

    def costs(self, every: Iterable[Candidate]) -> dict[str, float]:
        """Returns the seconds of a step by method, measured here; a method that cannot be trained or timed is left out."""
        costs: dict[str, float] = self.plan.get("costs", {})
        self.left_out |= self.plan.get("left_out", {})
        started, timed = self.budget.left(), 0.0
        for method, group in groupby(every, lambda candidate: candidate.method):
            if method in costs or method in self.left_out:
                continue
            candidate = next(group)
            longest = (1 + TIMED_STEPS) * max(costs.values(), default=0.0)
            if timed > TIMING_SHARE * started or self.budget.left() < longest:
                self.left_out[method] = "the budget has no time to time its steps"
                continue
            try:
                with Trainee(
                    candidate, self.pool, self.base
                ) as trainee:  # its texts are encoded here, for all its trials
                    begun = self.budget.clock()
                    costs[method] = trainee.seconds_per_step(candidate, self.budget.clock)
                    timed += self.budget.clock() - begun
            except CrosscueError as error:
                self.left_out[method] = str(error)
            self.keep_plan(costs=costs, left_out=self.left_out)
        return costs

    def head_steps(self, heads: list[Candidate], costs: dict[str, float]) -> int:
        """Returns the steps of every head.

        Raises:
            TrainingError: the budget is too small for one method.
        """
        if not heads:
            return 0
        if "heads" not in self.plan:
            cheapest = self.seconds(min(heads, key=lambda head: costs[head.method]), LEAST_HEAD_STEPS, costs)
            if self.budget.left() < cheapest:
                least = least_budget(self.budget.taken() + cheapest)
                raise TrainingError(
                    f"the budget of {self.budget.seconds:g}s is too small for one method on this machine. "
                    f"Give at least {least}: --budget {least}"
                )
            affordable = self.within(HEADS_SHARE * self.budget.left(), heads, costs)
            self.keep_plan(heads=max(LEAST_HEAD_STEPS, min(HEAD_STEPS, affordable)))
        return int(self.plan["heads"])

    def affordable(self, rest: list[Candidate], costs: dict[str, float]) -> list[Candidate]:
        """Returns the candidates that the time left is enough for. The most promising one may use all of it."""
        if "entered" not in self.plan:
            entered = list[Candidate]()
            for candidate in sorted(rest, key=lambda candidate: candidate.promise):
                share = PLANNED * self.budget.left() / (len(STEPS) if entered else 1)
                if self.within(share, [*entered, candidate], costs) >= LEAST_STEPS:
                    entered.append(candidate)
            self.keep_plan(entered=[candidate.name for candidate in entered])
        for candidate in rest:
            if candidate.name not in self.plan["entered"]:
                reason = f"no time beside more promising candidates: a step takes {costs[candidate.method]:.2g} s here"
                self.left_out[candidate.name] = reason
        return [candidate for candidate in rest if candidate.name in self.plan["entered"]]

    def steps(self, rung: int, most: int, members: list[Candidate], costs: dict[str, float]) -> int:
        """Returns the steps of every candidate of a rung: an equal share of the time left, at most `most`, in whole epochs."""
        if str(rung) not in self.plan:
            share = PLANNED * self.budget.left() / (len(STEPS) - rung)
            self.keep_plan(**{str(rung): max(LEAST_STEPS, min(most, self.within(share, members, costs)))})
        steps, epoch = int(self.plan[str(rung)]), -(-len(self.pool.folds[0].train) // self.base.batch_size)
        return steps if steps < epoch else steps - steps % epoch

    def within(self, seconds: float, members: list[Candidate], costs: dict[str, float]) -> int:
        """Returns the steps that every member can be trained for in so many seconds together."""
        once, checks = (sum(self.seconds(member, steps, costs) for member in members) for steps in (1, 0))
        rare, often = (
            int((seconds - number * checks / RARELY) / max(once - checks, 1e-9)) for number in (RARELY, OFTEN)
        )
        return max(rare if rare < LONG else max(often, LONG - 1), 0)

    def seconds(self, candidate: Candidate, steps: int, costs: dict[str, float]) -> float:
        """Returns the expected time of a trial; with folds, that of the last training on all pairs too."""
        fold, cost = self.pool.folds[0], costs[candidate.method]
        validation = self.validation
        if not candidate.head:  # it reads the images of validation through the layers that learn
            validation = max(validation, len(fold.val) * self.per_image(candidate, costs))
        number = RARELY if steps < LONG else OFTEN
        return (len(self.pool.folds) + self.pool.crossed) * steps * cost + len(self.pool.folds) * number * validation

    def rung(self, rung: int, members: list[Candidate], steps: int, costs: dict[str, float]) -> list[Trial]:
        """Returns the trials of a rung; what the time left is not enough for is left out."""
        trials = []
        for _, group in groupby(members, lambda candidate: candidate.method):
            rates = list(group)
            if all(self.study.ended(candidate, rung) is not None for candidate in rates):
                trials += [self.study.ended(candidate, rung) for candidate in rates]
                continue
            with Trainee(rates[0], self.pool, self.base) as trainee:
                trials += [self.trial(trainee, candidate, rung, steps, costs) for candidate in rates]
        for candidate, trial in zip(members, trials, strict=True):
            if isinstance(trial, str):
                self.left_out[candidate.name] = trial
        return [trial for trial in trials if isinstance(trial, Trial)]

    def trial(
        self, trainee: Trainee, candidate: Candidate, rung: int, steps: int, costs: dict[str, float]
    ) -> Trial | str:
        """Returns the trial of a candidate, or the reason why there is none."""
        ended = self.study.ended(candidate, rung)
        if ended is not None:
            return ended
        number = self.study.opened(candidate, rung, steps)
        folder, reason = self.folder / f"{number:03d}-{candidate.method}", ""
        if not folder.exists() and self.seconds(candidate, steps, costs) > self.budget.left():
            reason = f"the budget had no time for {steps} steps"
        else:
            note(f"trial {number}: {candidate.name}, {steps} steps; {self.budget.left():,.0f} s of the budget left")
            try:
                trial = trainee.trained(candidate, steps, folder, number, self.budget)
                self.study.tell(number, trial)
            except (MethodError, TrainingError) as error:
                reason = str(error)
            self.study.note(SPENT, self.budget.spent())
            for checkpoints in folder.glob("**/checkpoints"):
                shutil.rmtree(checkpoints)
            if not reason:
                return trial
        self.study.fail(number, reason)
        return reason

    def keep_plan(self, **values: Any) -> None:
        """Adds to the plan, which a resumed search follows."""
        self.plan |= values
        self.study.note(PLAN, self.plan)
        self.study.note(SPENT, self.budget.spent())
