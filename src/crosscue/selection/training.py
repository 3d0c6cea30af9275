"""Training of one candidate in a search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from crosscue.backbones.rows import divided
from crosscue.errors import MethodError, TrainingError
from crosscue.evaluation.measuring import rank
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.recall import KS, hits, metrics, recall
from crosscue.interruption import interruption
from crosscue.methods.capabilities import studied
from crosscue.methods.registry import build
from crosscue.progress import note
from crosscue.retrieval.bank import bank_of
from crosscue.retrieval.options import Inference
from crosscue.selection.pool import Fold, Pool, some
from crosscue.selection.trials import Trial
from crosscue.training.checkpoints import ADAPTER, BEST, save_learned
from crosscue.training.feed import Feed, training_feed
from crosscue.training.journal import read_validations
from crosscue.training.loop import Outcome, add_gradients, fit
from crosscue.training.optimisers import optimizer
from crosscue.training.processes import ALONE

if TYPE_CHECKING:
    from crosscue.methods.contract import Batch, Method
    from crosscue.selection.budget import Budget
    from crosscue.selection.candidates import Candidate
    from crosscue.training.config import TrainingConfig

TIMED_STEPS = 3
SHARES = "shares"
"""Entry of a validation in the journal of a trial: the share of each validation image in Rsum."""


class Interrupted(Exception):
    """The user stopped a training."""

    def __init__(self, method: Method[Any], outcome: Outcome) -> None:
        super().__init__()
        self.method, self.outcome = method, outcome


class BudgetEnded(TrainingError):
    """The budget ended during a training."""


class BoundedFeed(Feed):
    """Batches of a training that ends with the budget."""

    def __init__(self, feed: Feed, budget: Budget) -> None:
        super().__init__(feed.pairs, feed.images, feed.batches, device=feed.device)
        self.budget = budget

    def batch(self, epoch: int, step: int) -> Batch:
        """See `Feed.batch`.

        Raises:
            BudgetEnded: there is no time left.
        """
        if not self.budget.left():
            raise BudgetEnded("the budget ended during its training: the steps took longer than those that were timed")
        return super().batch(epoch, step)


class Trainee:
    """A method that is trained several times from the same start. Its texts are studied once."""

    def __init__(self, candidate: Candidate, pool: Pool, base: TrainingConfig) -> None:
        """Builds the method. `candidate` gives its name and its options; the rate may change from training to training."""
        torch.manual_seed(base.seed)
        self.method, self.pool, self.base = build(candidate.method, pool.backbone, candidate.options), pool, base
        self._start = {name: tensor.clone() for name, tensor in self.method.learned_state().items()}
        self._open = ExitStack()

    def __enter__(self) -> Trainee:
        train = self.pool.part(self.pool.everything)
        self._open.enter_context(studied(self.method, train, train.captions))
        return self

    def __exit__(self, *raised: object) -> None:
        self._open.close()

    def seconds_per_step(self, candidate: Candidate, clock: Callable[[], float] = time.monotonic) -> float:
        """Returns the seconds of an optimiser step, from the first steps; the very first one warms up."""
        self._restart()
        train = self.pool.folds[0].train
        training = candidate.training(self.base, 1, 1)
        feed = training_feed(self.method, self.pool.part(train), training, self.pool.images(self.method, train))
        stepper, started = optimizer(self.method, training), clock()
        learned = [parameter for group in stepper.param_groups for parameter in group["params"]]
        self.method.train()
        with divided(self.method, ALONE.rows(training.chunk)):
            for step in range(1 + TIMED_STEPS):
                stepper.zero_grad()
                add_gradients(self.method, feed.batch(0, step % feed.length), training, step)
                torch.nn.utils.clip_grad_norm_(learned, training.clip_grad or math.inf)
                stepper.step()
                started = clock() if step == 0 else started
        seconds = (clock() - started) / TIMED_STEPS
        self.method.eval()
        self._restart()
        return seconds

    def trained(self, candidate: Candidate, steps: int, folder: Path, number: int, budget: Budget) -> Trial:
        """Trains on every fold and returns the recall on the pairs held out; a training begun in `folder` goes on.

        The epoch is the one that was best in the mean of the folds. Without folds, a training that the budget cuts off counts up
        to its last validation.

        Raises:
            MethodError: the method cannot learn from the pairs.
            TrainingError: training failed, or the budget has ended.
            Interrupted: the user stopped it.
        """
        seconds, curves, outcome = 0.0, list[dict[int, dict[str, Any]]](), None
        training = candidate.training(self.base, steps, self.feed(candidate, steps, self.pool.folds[0]).length)
        for index, fold in enumerate(self.pool.folds):
            where = folder / f"fold-{index}" if self.pool.crossed else folder
            started = time.monotonic()
            try:
                outcome = self.fitted(candidate, training, steps, where, fold, budget)
            except BudgetEnded:
                validations = read_validations(where)
                if self.pool.crossed or not any(line["epoch"] for line in validations):
                    raise
                outcome = self.cut_off(where, validations)
            curves.append({line["epoch"]: line for line in read_validations(where)})
            seconds += max(outcome.seconds, time.monotonic() - started)
            if not self.pool.crossed:
                save_learned(where / ADAPTER, self.method.learned_state())
        assert outcome is not None
        scores = {epoch: [share for curve in curves for share in curve[epoch][SHARES]] for epoch in curves[0]}
        best = max(scores, key=lambda epoch: np.mean(scores[epoch])) if self.pool.crossed else outcome.best_epoch
        assert best is not None
        values = {
            name: float(np.mean([curve[best][name] for curve in curves]))
            for name in curves[0][best]
            if name.partition("_")[0] in ("i2t", "t2i", "rsum")
        }
        return Trial(
            candidate.method,
            candidate.lr,
            outcome.steps,
            seconds,
            float(np.mean(scores[best])),
            values,
            scores[best],
            number,
            best,
            min(steps * training.batch_size, len(self.pool.folds[0].train)),
            training.recorded() | {"trackers": []},
            cut=outcome.epochs if outcome.ended == "stopped early" else None,
        )

    def fitted(
        self,
        candidate: Candidate,
        training: TrainingConfig,
        steps: int,
        folder: Path,
        fold: Fold,
        budget: Budget | None = None,
        until: int | None = None,
    ) -> Outcome:
        """Trains on one fold, with the best epoch on its validation pairs if it has any, else up to epoch `until`."""
        self._restart()
        torch.manual_seed(self.base.seed)
        feed = self.feed(candidate, steps, fold)
        feed = BoundedFeed(feed, budget) if budget is not None else feed

        def validate() -> dict[str, Any]:
            values, parts = validated(self.method, self.pool, fold)
            return {**values, SHARES: parts}

        with interruption() as stop:  # that of the training: the user may stop it in its last validation
            try:
                outcome = fit(
                    self.method, feed, training, folder, validate if fold.val else None, resume=True, until=until
                )
            except (MethodError, TrainingError):
                if stop.requested:
                    raise KeyboardInterrupt from None
                raise
            if stop.requested:
                raise Interrupted(self.method, replace(outcome, ended="interrupted"))
        return outcome

    def cut_off(self, folder: Path, validations: list[dict[str, Any]]) -> Outcome:
        """Restores the best epoch of a training that did not end, and returns its end at the last validation."""
        last = validations[-1]
        self.method.load_learned_state(load_file(folder / "checkpoints" / BEST))
        self.method.eval()
        note(f"the budget ended during this training; it counts up to epoch {last['epoch']}, its last validation")
        best = max(line["rsum"] for line in validations)
        return Outcome("stopped early", last["step"], last["epoch"], best, last["best_epoch"], 0.0)

    def feed(self, candidate: Candidate, steps: int, fold: Fold) -> Feed:
        """Returns the batches of a training of `steps` steps on a fold: no more pairs than it can see."""
        batch = candidate.training(self.base, steps, 1)
        places = some(fold.train, steps * batch.batch_size, self.base.seed)
        return training_feed(self.method, self.pool.part(places), batch, self.pool.images(self.method, places))

    def _restart(self) -> None:
        with torch.no_grad():
            self.method.load_learned_state(self._start)


def validated(
    method: Method[Any], pool: Pool, fold: Fold, *, normalised: bool = False
) -> tuple[dict[str, float], list[float]]:
    """Returns the recalls on the validation pairs of a fold, and the share of each of its images in Rsum.

    With `normalised`, a bank of the fold's training queries corrects the scores.
    """
    pairs, inference = pool.part(fold.val), Inference(normalise="bank" if normalised else "none").of(method)
    train = (pool.part(fold.train), pool.images(method, fold.train)) if normalised else None
    bank = bank_of(method, *train, inference) if train is not None else None
    i2t, t2i = rank(method, pairs, pool.images(method, fold.val), inference, bank=bank).ranks
    return metrics(recall(i2t), recall(t2i)), shares(i2t, t2i, np.array(pairs.caption_owner))


def untrained(
    method: Method[Any], pool: Pool, clock: Callable[[], float] = time.monotonic, *, normalised: bool = False
) -> Trial:
    """Returns the trial of a method as it is, over all folds."""
    started = clock()
    every = [validated(method, pool, fold, normalised=normalised) for fold in pool.folds]
    scores = [share for _, parts in every for share in parts]
    values = {name: float(np.mean([one[name] for one, _ in every])) for name in every[0][0]}
    rsum = float(np.mean(scores))
    return Trial(method.name, None, 0, clock() - started, rsum, values, scores, normalised=normalised)


def shares(i2t: Ranks, t2i: Ranks, owner: np.ndarray[Any, Any]) -> list[float]:
    """Returns (images,) the share of each image in Rsum; their mean is Rsum."""
    per_image, per_caption = (np.sum([hits(ranks, k) for k in KS], axis=0) for ranks in (i2t, t2i))
    count = len(per_image)
    of_captions = np.bincount(owner, weights=per_caption, minlength=count) * count / len(owner)
    return [float(share) for share in 100 * (per_image + of_captions)]
