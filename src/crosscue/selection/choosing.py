"""Method `auto`: a search over methods, and the run folder of the one that is chosen.

selection.json                 the table of trials, and the conclusion about the choice
selection/config.yaml          options of the search: `--config` of a resumed one
selection/checkpoints/         trials.db (Optuna); while the search runs, a folder for each trial

Everything else in the folder is as any run has it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from crosscue.data.features import feature_rows
from crosscue.errors import OptionError, RunError, TrainingError
from crosscue.measurement import keep_for_inference
from crosscue.methods.registry import build, config_of, method_class
from crosscue.progress import note
from crosscue.selection.budget import DEFAULT, Budget, budget_of, seconds_of
from crosscue.selection.candidates import candidates, frozen_layers, last_alone
from crosscue.selection.defaults import AUTO, chosen_itself
from crosscue.selection.pool import (
    ENCODING_SHARE,
    FEW,
    Fold,
    Pool,
    check_source,
    encoding_seconds,
    held_share,
    learnable,
    pool_of,
    some,
)
from crosscue.selection.search import Search
from crosscue.selection.training import Interrupted, Trainee, untrained
from crosscue.selection.trials import PLAN, SPENT, Study, Trial
from crosscue.selection.verdict import FILE, Verdict, chosen, methods_of, normalised_floor, table
from crosscue.storage import read_json, sole_run, write_json
from crosscue.training.card import model_card
from crosscue.training.checkpoints import ADAPTER
from crosscue.training.config import TrainingConfig
from crosscue.training.loop import Outcome
from crosscue.training.provenance import Provenance, data_record
from crosscue.training.runs import CONFIG, BackboneIdentity, check_run, finish_run, load_method, start_run

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method

JOURNAL = "metrics.jsonl"
FORMAT = 2
"""Version of the plan of a search. Another version plans other trials, so a search is resumed by its own alone."""


@dataclass(frozen=True)
class Request:
    """Input of a search."""

    source: Pairs
    backbone: Backbone
    folder: Path
    training: TrainingConfig
    budget: str | None = None
    shots: int | None = None
    validation: float | bool | None = None
    precision: str = "auto"
    record: Mapping[str, Any] | None = None

    def resolved(self, method: str) -> dict[str, Any]:
        """Returns the first entries of a configuration file."""
        return {
            "method": method,
            "backbone": self.backbone.source,
            "image_size": self.backbone.pixels.size,
            "precision": self.precision,
            "shots": self.shots,
            "validation": self.validation,
            **(self.record or {"data": self.source.source}),
        }


def choose(
    request: Request, *, resume: bool = False, clock: Callable[[], float] = time.monotonic
) -> tuple[Method[Any], Path, Outcome]:
    """Searches, writes the run folder of the chosen method, and returns method, folder and the end of its training.

    Raises:
        CrosscueError: something the user can put right: see `check_source`, `seconds_of`, `Search.run` and `check_run`.
    """
    seconds = seconds_of(request.budget or DEFAULT)
    refuse_chosen(request.training)
    check_source(request.source, request.validation)
    folder, home = request.folder, request.folder / "selection"
    options = request.resolved(AUTO) | {"budget": request.budget or DEFAULT}
    options |= {"training": request.training.recorded()}
    learn = learnable(request.source)
    data = {"source": request.source.source, "learnable": {"images": len(learn), "fingerprint": learn.fingerprint()}}
    identity = BackboneIdentity.of(request.backbone)
    if not (home / CONFIG).exists():  # then it may be the folder of another run
        check_run(folder, options, identity, data, resume=resume)
    with sole_run(folder):
        start_run(home, options, identity, data, resume=resume)
        if (folder / FILE).exists():
            record = read_json(folder / FILE, RunError, "Start anew with another --out.")
            return load_method(folder, request.backbone), folder, Outcome(**record["outcome"])
        study = Study(home / "checkpoints")
        budget = Budget(seconds, study.noted(SPENT, 0.0), clock)
        pool = affordable_pool(request, study, budget)
        search = Search(pool, request.training, home / "checkpoints", budget, study)
        try:
            trials = search.run()
            best = max(trials, key=lambda trial: trial.rsum)
            winner = chosen(trials, methods_of(candidates(request.backbone, pool.frozen_layers)))
            method, outcome, where = trained(winner, search)
            floor = search.normalised
            normalised = {"untouched": floor.rsum}
            rival = None
            if not pool.crossed and winner.number is not None:  # after folds it has seen all images
                rival = untrained(method, pool, budget.clock, normalised=True)
                normalised[winner.name] = rival.rsum
            final = normalised_floor(winner, floor, rival)
            if final is floor:
                method, outcome, where = trained(floor, search)
        except Interrupted as stopped:
            study.note(SPENT, budget.spent())
            return stopped.method, folder, stopped.outcome
        verdict = Verdict(
            trials=[trials[0], floor, *trials[1:]],
            chosen=final,
            best=best,
            left_out=search.left_out,
            seconds=budget.spent(),
            budget=request.budget or DEFAULT,
            validated_on=described(pool),
            normalised=normalised,
        )
        write_run(request, pool, verdict, method, outcome, where)
        for trial in home.glob("checkpoints/*/"):
            shutil.rmtree(trial)
        return method, folder, outcome


def refuse_mixed(method: str, budget: str | None, options: object, folds: int | None) -> bool:
    """Returns True for method `auto`.

    Raises:
        OptionError: `auto` has options of a method or folds, or a method has a budget.
    """
    if method != AUTO and budget is not None:
        raise OptionError(f"method '{method}' has no budget; its length is training.epochs. Leave --budget out.")
    if method == AUTO and options:
        raise OptionError("method 'auto' has no options of its own. Leave them out, or name a method.")
    if method == AUTO and folds is not None:
        raise OptionError("method 'auto' chooses folds itself. Leave --folds out, or name a method.")
    return method == AUTO


def refuse_chosen(training: TrainingConfig) -> None:
    """Raises `OptionError` for an option of training that the search chooses itself."""
    for name in chosen_itself(training):
        raise OptionError(
            f"method 'auto' chooses training.{name} itself. Leave it out, or name a method: "
            "crosscue adapt --method linear_probe --data SOURCE"
        )


def affordable_pool(request: Request, study: Study, budget: Budget) -> Pool:
    """Returns the pool of the source, with as many images as the budget can encode and as many learning layers as it can train.

    Raises:
        RunError: the search was begun by an older version.
        TrainingError: the budget is too small to encode even a few.
    """
    plan = study.noted(PLAN, {})
    if plan and plan.get("format") != FORMAT:
        raise RunError(
            f"{request.folder}: another version of crosscue began this search. Start anew with another --out."
        )
    learn = learnable(request.source)
    if not plan:
        one = (
            encoding_seconds(learn, request.backbone, budget.clock)
            if not feature_rows(learn.images, learn.origin)
            else 0.0
        )
        few = one * min(len(learn), FEW)
        if few > ENCODING_SHARE * budget.seconds:
            least = budget_of(few / ENCODING_SHARE)
            raise TrainingError(
                f"the budget of {budget.seconds:g}s is too small to encode the images on this machine. "
                f"Give at least {least}: --budget {least}"
            )
        trained = (1 - ENCODING_SHARE) * budget.seconds
        plan = {
            "format": FORMAT,
            "most": max(FEW, int(ENCODING_SHARE * budget.seconds / max(one, 1e-9))),
            "frozen_layers": frozen_layers(request.backbone, request.training.batch_size, one, trained),
        }
        study.note(PLAN, plan)
    if plan["most"] < len(learn):
        note(f"the budget is enough to encode {plan['most']:,} of {len(learn):,} images; they are drawn at random")
    if last_alone(request.backbone, plan["frozen_layers"]):
        note("the budget is enough for changes of the last image layer alone; more time lets the last quarter learn")
    return pool_of(
        request.source,
        request.backbone,
        request.shots,
        request.validation,
        request.training.seed,
        plan["most"],
        plan["frozen_layers"],
    )


def trained(winner: Trial, search: Search) -> tuple[Method[Any], Outcome, Path | None]:
    """Returns the chosen method, the end of its training, and the folder of its journal.

    After folds it is trained once more, on all pairs, with the steps of its trial.
    """
    pool = search.pool
    if winner.number is None:
        return build(winner.method, pool.backbone).eval(), Outcome("finished", 0, 0, winner.rsum, None, 0.0), None
    candidate = next(one for one in candidates(pool.backbone, pool.frozen_layers) if one.name == winner.name)
    if pool.crossed:
        where = search.folder / "final"
        with Trainee(candidate, pool, search.base) as trainee:
            outcome, training = trainee.fitted(candidate, winner.steps, where, Fold(pool.everything, []))
        winner.training.update(training.recorded(), trackers=[])
        return trainee.method, outcome, where
    where = search.folder / f"{winner.number:03d}-{winner.method}"
    method = build(winner.method, pool.backbone, candidate.options)
    method.load_learned_state(load_file(where / ADAPTER))
    epochs = winner.training["epochs"]
    return (
        method.eval(),
        Outcome("finished", winner.steps, epochs, winner.rsum, winner.best_epoch, winner.seconds),
        where,
    )


def described(pool: Pool) -> str:
    """Returns the validation pairs in words."""
    if pool.crossed:
        return f"{len(pool.pairs)} images in {len(pool.folds)} folds, each validated without having been learned from"
    return f"{len(pool.folds[0].val)} validation images"


def write_run(
    request: Request, pool: Pool, verdict: Verdict, method: Method[Any], outcome: Outcome, where: Path | None
) -> None:
    """Writes the run folder of the chosen method; selection.json comes last."""
    folder, fold = request.folder, pool.folds[0]
    learned = some(fold.train, verdict.chosen.learned_from or len(fold.train), request.training.seed)
    train = pool.part(pool.everything if pool.crossed else learned)
    val = None if pool.crossed else pool.part(fold.val)
    read = (train, pool.images(method, pool.everything if pool.crossed else learned))
    data = data_record(request.source, train, val)
    share = False if pool.crossed else held_share(request.source, request.validation)
    config = request.resolved(method.name) | {"validation": share, "chosen_by": AUTO}
    options = asdict(config_of(method_class(method.name), method.config))
    usual = request.training.recorded() | {"trackers": []}
    config |= {"options": options, "training": verdict.chosen.training or usual}
    start_run(folder, config, BackboneIdentity.of(request.backbone), data, resume=True)
    Provenance.of(train if where is not None else (), val).save(folder)
    record = verdict.to_dict() | {"outcome": asdict(outcome)}
    if where is not None:
        shutil.copy(where / JOURNAL, folder / JOURNAL)
    card = (
        f"{model_card(method, config, data, outcome)}\n## Chosen by auto\n\n{record['conclusion']}\n\n{table(record)}\n"
    )
    keep_for_inference(folder, method, read, (val, pool.images(method, fold.val)) if val else None)
    finish_run(folder, method, card)
    write_json(folder / FILE, record)
