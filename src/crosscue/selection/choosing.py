"""Method `auto`: a search over methods, and the run folder of the one that is chosen.

selection.json                 the table of trials, and the conclusion about the choice
selection/config.yaml          options of the search: `--config` of a resumed one
selection/checkpoints/         trials.db (Optuna); while the search runs, a folder for each trial

Everything else in the folder is as any run has it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.data.features import feature_rows
from crosscue.errors import OptionError, RunError, TrainingError
from crosscue.locks import sole_run
from crosscue.methods.registry import build
from crosscue.progress import note
from crosscue.selection.budget import DEFAULT, Budget, least_budget, seconds_of
from crosscue.selection.candidates import frozen_layers, last_alone
from crosscue.selection.chosen_run import described, trained, write_run
from crosscue.selection.defaults import AUTO, HOME, chosen_itself
from crosscue.selection.pool import (
    ENCODING_SHARE,
    FEW,
    Pool,
    caption_seconds,
    check_source,
    encoding_seconds,
    learnable,
    pool_of,
    wanted,
)
from crosscue.selection.request import Request
from crosscue.selection.search import Search
from crosscue.selection.training import Interrupted, untrained
from crosscue.selection.trials import PLAN, SPENT, Study
from crosscue.selection.verdict import FILE, Verdict, cheaper, chosen, methods_of, normalised_floor
from crosscue.storage import read_json
from crosscue.training.config import TrainingConfig
from crosscue.training.loop import Outcome
from crosscue.training.runs import CONFIG, BackboneIdentity, load_method
from crosscue.training.starting import check_run, start_run

if TYPE_CHECKING:
    from crosscue.methods.contract import Method

FORMAT = 3
"""Version of the plan of a search. Another version plans other trials, so a search is resumed by its own alone."""


def choose(
    request: Request, *, resume: bool = False, clock: Callable[[], float] = time.monotonic
) -> tuple[Method[Any], Path, Outcome]:
    """Searches, writes the run folder of the chosen method, and returns method, folder and the end of its training.

    Raises:
        CrosscueError: something the user can put right: see `check_source`, `seconds_of`, `Search.run` and `check_run`.
    """
    seconds = seconds_of(DEFAULT if request.budget is None else request.budget)
    refuse_chosen(request.training)
    check_source(request.source, request.shots, request.validation, request.training.seed)
    folder, home = request.folder, request.folder / HOME
    options = request.resolved(AUTO) | {"budget": request.budget or DEFAULT}
    options |= {"training": request.training.recorded()}
    learn = learnable(request.source)
    data = {"source": request.source.source, "learnable": {"images": len(learn), "fingerprint": learn.fingerprint()}}
    identity = BackboneIdentity.of(request.backbone)
    if not (home / CONFIG).exists():  # then it may be the folder of another run
        check_run(folder, options, identity, data, resume=resume, beside=(HOME,))
    with sole_run(folder):
        ended = (folder / FILE).exists()
        check_run(home, options, identity, data, resume=resume, begun=ended)
        if ended:
            clear(home)
            record = read_json(folder / FILE, RunError, "Start anew with another --out.")
            return load_method(folder, request.backbone), folder, Outcome(**record["outcome"])
        study = Study(home / "checkpoints")
        if not check_run(home, options, identity, data, resume=resume, begun=study.begun):
            start_run(home, options, identity, data)
        budget = Budget(seconds, study.noted(SPENT, 0.0) if study.begun else 0.0, clock)
        try:
            method, outcome = searched(request, study, budget)
        except (Interrupted, KeyboardInterrupt) as stopped:
            study.note(SPENT, budget.spent())
            if isinstance(stopped, Interrupted):
                return stopped.method, folder, stopped.outcome
            between = Outcome("interrupted", 0, 0, None, None, budget.spent())
            return build("zero_shot", request.backbone).eval(), folder, between
        except TrainingError:
            if not study.successful:  # so that the same folder can be used with more time
                shutil.rmtree(home)
            raise
        clear(home)
        return method, folder, outcome


def clear(home: Path) -> None:
    """Removes the folders of the trials of a search that has ended."""
    for trial in home.glob("checkpoints/*/"):
        shutil.rmtree(trial)


def searched(request: Request, study: Study, budget: Budget) -> tuple[Method[Any], Outcome]:
    """Searches, writes the run folder, and returns the chosen method and the end of its training."""
    pool = affordable_pool(request, study, budget)
    search = Search(pool, request.training, request.folder / HOME / "checkpoints", budget, study)
    trials = search.run()
    methods, floor = methods_of(search.candidates), search.normalised
    winner = chosen(trials, methods)
    own, rival, normalised = None, None, {"untouched": floor.rsum}
    if not pool.crossed and winner.number is not None:  # after folds it would have seen all images
        own = trained(winner, search)
        rival = untrained(own[0], pool, budget.clock, normalised=True)
        normalised[winner.name] = rival.rsum
    final = normalised_floor(winner, floor, rival)
    method, outcome, where = own if own is not None and final is winner else trained(final, search)
    verdict = Verdict(
        trials=[trials[0], floor, *trials[1:]],
        chosen=final,
        best=max(trials, key=lambda trial: trial.rsum),
        cheaper=cheaper(trials, final, methods),
        left_out=search.left_out,
        budget=request.budget or DEFAULT,
        validated_on=described(pool),
        normalised=normalised,
    )
    write_run(request, pool, verdict, method, outcome, where, budget)
    return method, outcome


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
    learn = wanted(request.source, request.shots, request.validation, request.training.seed)
    if not plan:
        image = 0.0
        if not feature_rows(learn.images, learn.origin):
            image = encoding_seconds(learn, request.backbone, budget.clock)
        one = image + caption_seconds(learn, request.backbone, budget.clock)
        few = one * min(len(learn), FEW)
        if few > ENCODING_SHARE * budget.seconds:
            least = least_budget(few / ENCODING_SHARE)
            raise TrainingError(
                f"the budget of {budget.seconds:g}s is too small to encode the images on this machine. "
                f"That alone needs at least {least}: --budget {least}"
            )
        trained = (1 - ENCODING_SHARE) * budget.seconds
        plan = {
            "format": FORMAT,
            "most": max(FEW, int(ENCODING_SHARE * budget.seconds / max(one, 1e-9))),
            "frozen_layers": frozen_layers(request.backbone, request.training.batch_size, image, trained),
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
