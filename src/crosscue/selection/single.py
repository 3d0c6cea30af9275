"""Training of one named method, with validation pairs, with folds, or without any."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosscue.data.fewshot import few_shot, folds
from crosscue.data.splits import training_pairs
from crosscue.errors import OptionError
from crosscue.evaluation.measuring import validation_metrics
from crosscue.locks import sole_run
from crosscue.measurement import keep_for_inference
from crosscue.methods.capabilities import studied
from crosscue.methods.images import cached_images, check_images
from crosscue.methods.registry import build
from crosscue.selection.pool import learnable
from crosscue.training.card import model_card
from crosscue.training.feed import training_feed
from crosscue.training.journal import read_validations
from crosscue.training.loop import Outcome, fit
from crosscue.training.provenance import Provenance, data_record
from crosscue.training.runs import BackboneIdentity, finish_run
from crosscue.training.starting import check_run, start_run
from crosscue.training.starts import compare, note_start

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method
    from crosscue.selection.request import Request
    from crosscue.training.config import TrainingConfig
    from crosscue.training.processes import Processes

FOLDS = "folds"
"""Folder of the trainings on folds in a run folder."""


def parts_of(
    source: Pairs, shots: int | None, validation: float | bool | None, count: int | None, training: TrainingConfig
) -> tuple[Pairs, Pairs | None]:
    """Returns the pairs of training and those of validation; with folds all pairs but those of the test split, and None.

    Raises:
        DataError: see `training_pairs`.
        OptionError: folds beside a share of validation, too few or too many folds, or patience without validation.
    """
    if count is None:
        train, val = training_pairs(source, shots, validation, training.seed)
        training.require_validation(val is not None)
        return train, val
    if validation is not None:
        raise OptionError("folds validate on all pairs, so --validation has no effect beside --folds. Leave it out.")
    if training.patience is not None:
        raise OptionError("training.patience has no effect with --folds, which find the epoch. Leave it out.")
    train = learnable(source)
    train = train if shots is None else few_shot(train, shots, training.seed)
    images = len({pair.image_id for pair in train})
    if type(count) is not int or not 2 <= count <= images // 2:
        raise OptionError(f"folds is {count!r}; it must be from 2 to {images // 2}, half of the {images} images.")
    return train, None


def train_single(
    request: Request,
    name: str,
    config: Any,
    train: Pairs,
    val: Pairs | None,
    count: int | None,
    processes: Processes,
    *,
    resume: bool,
) -> tuple[Method[Any], Path, Outcome]:
    """Trains one method and writes its run folder.

    Args:
        request: backbone, folder and options of the run.
        name: name of the method.
        config: options of the method.
        train: the training pairs.
        val: the validation pairs.
        count: number of folds that find the number of epochs, where there are no validation pairs.
        processes: the processes of the run. All encode in the loop; outside it each works alone, and process 0 writes.
        resume: continue the run in the folder.

    Returns:
        Method, folder and the end of its training.

    Raises:
        CrosscueError: something the user can put right; see `check_run` and `fit`.
    """
    training, folder = request.training, request.folder
    resolved = request.resolved(name) | ({FOLDS: count} if count else {})
    resolved |= {"options": asdict(config), "training": training.recorded()}
    data = data_record(request.source, train, val) | ({FOLDS: count} if count else {})
    identity = BackboneIdentity.of(request.backbone)

    def built() -> Method[Any]:
        torch.manual_seed(training.seed)
        return build(name, request.backbone, config)

    adapted = built()
    for part in (train, val or train):
        check_images(part, adapted, training.augmentation)
    captions = [*train.captions, *(val.captions if val else ())]
    compare(adapted, resolved, data, processes)
    if processes.main:
        check_run(folder, resolved, identity, data, resume=resume)  # before anything is computed
    alone = sole_run(folder) if processes.main else nullcontext()
    with studied(adapted, train, captions) as knowledge, alone:
        provenance = Provenance.of(train, val)
        processes.same("images", asdict(provenance), "Give all the same files.")
        if processes.main:
            if not check_run(folder, resolved, identity, data | knowledge, resume=resume):
                start_run(folder, resolved, identity, data | knowledge)
            provenance.save(folder)
            note_start(folder, {"processes": processes.world, "rows_at_once": training.rows_at_once})
        if count:
            found = folded(built, train, count, training, folder / FOLDS)
            if found.ended == "interrupted":
                return adapted, folder, found
            torch.manual_seed(training.seed)
        feed, validate = training_feed(adapted, train, training), None
        if val:
            images = cached_images(val, adapted)
            validate = lambda: validation_metrics(adapted, val, images)  # noqa: E731
        if processes.world > 1:  # the first process of a machine fills the caches, and the others read them
            processes.first(lambda: feed.batch(0, 0))
            processes.first(lambda: images[[0]] if val else None)
        until = found.best_epoch if count else None
        outcome = fit(adapted, feed, training, folder, validate, resume=resume, until=until, processes=processes)
        if outcome.ended != "interrupted" and processes.main:
            untouched = keep_for_inference(folder, adapted, (train, feed.images), (val, images) if val else None)
            outcome = replace(outcome, untouched_rsum=untouched)
            if count:
                best = {name: getattr(found, name) for name in ("best_rsum", "best_epoch", "untouched_rsum")}
                outcome = replace(outcome, **best)
            finish_run(folder, adapted, model_card(adapted, resolved, data | knowledge, outcome))
    return adapted, folder, processes.everywhere(outcome, "the end of the run")[0]


def folded(
    built: Callable[[], Method[Any]], pairs: Pairs, count: int, training: TrainingConfig, folder: Path
) -> Outcome:
    """Returns the epoch with the best mean Rsum over folds, with that Rsum and the untouched one; a training begun goes on.

    Each fold is validated by a method that learned from the others.
    """
    curves, untouched = list[dict[int, float]](), list[float]()
    for index, held in enumerate(folds(pairs, count, training.seed)):
        val = pairs.part(pairs[place] for place in held)
        train = pairs.part(pairs[place] for place in sorted({*range(len(pairs))} - {*held}))
        method, place = built(), folder / str(index)
        with studied(method, train, pairs.captions):
            images = cached_images(val, method)
            validate = lambda: validation_metrics(method, val, images)  # noqa: B023, E731
            outcome = fit(method, training_feed(method, train, training), training, place, validate, resume=True)
        if outcome.ended == "interrupted":
            return outcome
        curves.append({line["epoch"]: line["rsum"] for line in read_validations(place)})
        untouched.append(validation_metrics(build("zero_shot", method.backbone).eval(), val, images)["rsum"])
    means = {epoch: float(np.mean([curve[epoch] for curve in curves])) for epoch in curves[0]}
    best = max(means, key=lambda epoch: means[epoch])
    return Outcome("finished", 0, best, means[best], best, 0.0, float(np.mean(untouched)))
