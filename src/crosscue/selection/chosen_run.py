"""The run folder of a search: the chosen method, trained, with everything that a run has."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from crosscue.measurement import keep_for_inference
from crosscue.methods.registry import build, config_of, method_class
from crosscue.selection.defaults import AUTO, HOME
from crosscue.selection.pool import Fold, Pool, held_share, some
from crosscue.selection.single import FOLDS
from crosscue.selection.training import SHARES, Trainee
from crosscue.selection.verdict import FILE, Verdict, table
from crosscue.storage import json_line, write_json, write_text
from crosscue.training.card import model_card
from crosscue.training.checkpoints import ADAPTER
from crosscue.training.journal import JOURNAL, read_journal
from crosscue.training.loop import Outcome
from crosscue.training.provenance import Provenance, data_record
from crosscue.training.runs import BackboneIdentity, finish_run
from crosscue.training.starting import check_run, start_run

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.selection.budget import Budget
    from crosscue.selection.request import Request
    from crosscue.selection.search import Search
    from crosscue.selection.trials import Trial


def trained(winner: Trial, search: Search) -> tuple[Method[Any], Outcome, Path | None]:
    """Returns the chosen method, the end of its training, and the folder of its journal.

    After folds it is trained once more, on all pairs, up to the epoch of its trial.
    """
    pool, untouched = search.pool, search.trials[0].rsum
    if winner.number is None:
        nothing = Outcome("finished", 0, 0, winner.rsum, None, 0.0, untouched)
        return build(winner.method, pool.backbone).eval(), nothing, None
    candidate = next(one for one in search.candidates if one.name == winner.name)
    if pool.crossed:
        where, whole = search.folder / "final", Fold(pool.everything, [])
        training = replace(search.base, **winner.training)
        steps = training.epochs * -(-len(pool.pairs) // training.batch_size)  # all pairs are learned from
        with Trainee(candidate, pool, search.base) as trainee:
            outcome = trainee.fitted(candidate, training, steps, where, whole, until=winner.best_epoch)
        best = winner.best_epoch
        return trainee.method, replace(outcome, best_rsum=winner.rsum, best_epoch=best, untouched_rsum=untouched), where
    where = search.folder / f"{winner.number:03d}-{winner.method}"
    method = build(winner.method, pool.backbone, candidate.options)
    method.load_learned_state(load_file(where / ADAPTER))
    epochs = winner.training["epochs"]
    outcome = Outcome("finished", winner.steps, epochs, winner.rsum, winner.best_epoch, winner.seconds, untouched)
    if winner.cut is not None:
        outcome = replace(outcome, ended="stopped early", epochs=winner.cut)
    return method.eval(), outcome, where


def described(pool: Pool) -> str:
    """Returns the validation pairs in words."""
    if pool.crossed:
        return f"{len(pool.pairs)} images in {len(pool.folds)} folds, each validated without having been learned from"
    return f"{len(pool.folds[0].val)} validation images"


def write_run(
    request: Request,
    pool: Pool,
    verdict: Verdict,
    method: Method[Any],
    outcome: Outcome,
    where: Path | None,
    budget: Budget,
) -> None:
    """Writes the run folder of the chosen method; selection.json comes last, with the seconds of `budget` so far."""
    folder, fold = request.folder, pool.folds[0]
    learned = some(fold.train, verdict.chosen.learned_from or len(fold.train), request.training.seed)
    train = pool.part(pool.everything if pool.crossed else learned)
    val = None if pool.crossed else pool.part(fold.val)
    read = (train, pool.images(method, pool.everything if pool.crossed else learned))
    data = data_record(request.source, train, val)
    count = {FOLDS: len(pool.folds)} if pool.crossed else {}
    data |= count
    share = None if pool.crossed else held_share(request.source, request.validation)
    validated: dict[str, Any] = {"validation": share} | count
    config = request.resolved(method.name) | validated | {"chosen_by": AUTO}
    options = asdict(config_of(method_class(method.name), method.config))
    usual = request.training.recorded() | {"trackers": []}
    config |= {"options": options, "training": verdict.chosen.training or usual}
    identity = BackboneIdentity.of(request.backbone)
    if not check_run(folder, config, identity, data, resume=True, beside=(HOME,)):
        start_run(folder, config, identity, data)
    Provenance.of(train if where is not None or verdict.chosen.normalised else (), val).save(folder)
    if where is not None:
        lines = read_journal(where / JOURNAL)
        kept = [{name: value for name, value in line.items() if name != SHARES} for line in lines]
        write_text(folder / JOURNAL, "".join(map(json_line, kept)))
    keep_for_inference(folder, method, read, (val, pool.images(method, fold.val)) if val else None)
    record = verdict.to_dict(budget.spent()) | {"outcome": asdict(outcome)}
    card = (
        f"{model_card(method, config, data, outcome)}\n## Chosen by auto\n\n{record['conclusion']}\n\n{table(record)}\n"
    )
    finish_run(folder, method, card)
    write_json(folder / FILE, record)
