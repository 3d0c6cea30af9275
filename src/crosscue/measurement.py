"""Evaluation of a method on pairs: their cached images, the bank of its run, and the untouched backbone beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.data.pairs import Pairs
from crosscue.data.splits import bank_pairs
from crosscue.encoding.line import line_of
from crosscue.errors import MethodError
from crosscue.evaluation.calibration import divisors
from crosscue.evaluation.comparison import Comparison, compare
from crosscue.evaluation.measuring import NO_BANK, Ranked, evaluate, rank, with_bank
from crosscue.evaluation.minimal_pairs import preferences
from crosscue.evaluation.oracle import oracle
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import recall, rsum
from crosscue.evaluation.result import Retrieval
from crosscue.evaluation.survey import Survey
from crosscue.evaluation.temperature import validation_temperatures
from crosscue.methods.images import cached_images
from crosscue.methods.registry import build
from crosscue.retrieval.bank import FILE, Bank, bank_of, load_bank, reading, save_banks
from crosscue.retrieval.confidence import Temperatures
from crosscue.retrieval.normalising import Correction, corrected, crossed
from crosscue.retrieval.options import Inference
from crosscue.retrieval.scores import held
from crosscue.training.provenance import Provenance

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.encoding.encoder import Floats
    from crosscue.methods.contract import Method
    from crosscue.retrieval.confidence import Divisors
    from crosscue.retrieval.scores import Scores

BLOCK = 256
"""Captions whose scores are compared at once."""
BETAS = (5.0, 10.0, 20.0, 40.0, 80.0)
"""Values of beta that validation chooses from."""
OWN, UNTOUCHED = "run", "untouched"


def measured(
    method: Method[Any],
    pairs: Pairs,
    inference: Inference,
    images: Images | None = None,
    bank: Bank | None = None,
    temperatures: Divisors | None = None,
) -> Retrieval:
    """Evaluates retrieval, and minimal pairs if `inference` has them.

    The scores are read once, for all that a report has of them; with `temperatures`, calibration is a part of it.
    """
    images = cached_images(pairs, method) if images is None else images
    preferred = preferences(method, pairs, images, inference) if inference.minimal_pairs else {}
    survey = Survey(pairs, temperatures)
    return replace(evaluate(method, pairs, images, inference, bank=bank, survey=survey), minimal_pairs=preferred)


def against_untouched(
    method: Method[Any],
    folder: Path | None,
    pairs: Pairs,
    inference: Inference,
    *,
    bank: Pairs | None = None,
    see_pairing: bool = False,
) -> Comparison:
    """Evaluates the untouched backbone and an adapted method on the same pairs; see `crosscue.before_and_after`."""
    inference.check(method)
    inference.effective(method)
    pairs, entries = unseen(folder, pairs)
    images = cached_images(pairs, method)
    shared = ("centre", "minimal_pairs", "normalise", "beta")
    usual = Inference(**{name: getattr(inference, name) for name in shared})
    untouched = build("zero_shot", method.backbone)
    banks = [
        bank_for(one, folder, name, pairs, bank, choices)
        for one, name, choices in ((untouched, UNTOUCHED, usual), (method, OWN, inference))
    ]
    before = measured(untouched, pairs, usual, images, banks[0])
    if see_pairing:
        after = oracle(method, pairs, images)
    else:
        fitted = None if folder is None else Temperatures.load(folder)
        known = divisors(method, inference.normalise, fitted)
        after = measured(method, pairs, inference, images, banks[1], known)
    return compare(*(replace(result, protocol=result.protocol | entries) for result in (before, after)))


def unseen(folder: Path | None, pairs: Pairs) -> tuple[Pairs, dict[str, Any]]:
    """Returns the pairs that a run did not learn from, with entries for the protocol; all pairs without a run folder."""
    return (pairs, {}) if folder is None else Provenance.load(folder).unseen(pairs)


def normalised_too(method: Method[Any], folder: Path | None, comparison: Comparison) -> Comparison | None:
    """Returns a plain comparison once more with the banks of the run folder; None without such banks."""
    untouched = build("zero_shot", method.backbone)
    before = normalised_result(untouched, folder, UNTOUCHED, comparison.before)
    after = normalised_result(method, folder, OWN, comparison.after)
    return compare(before, after) if before is not None and after is not None else None


def normalised_result(
    method: Method[Any], folder: Path | None, name: str, result: Retrieval, train: Pairs | None = None
) -> Retrieval | None:
    """Returns a plain result once more with a bank; the gallery is not encoded again.

    Args:
        method: the method that gave the result.
        folder: the run folder, if there is one.
        name: name of the bank in it.
        result: a result with its scores.
        train: training pairs for the bank if the folder has none.

    Returns:
        None without a bank, and for results by re-ranking, of centred embeddings, or with enriched galleries.
    """
    if "re-ranking" in result.protocol or "enrichment" in result.protocol or result.protocol["centred"]:
        return None
    chosen = Inference(mode=result.protocol["text_mode"], rerank=False, normalise="bank").of(method)
    bank = bank_of_run(method, folder, name, chosen)
    if bank is None:
        if train is None:
            return None
        bank = bank_of(method, train, cached_images(train, method), chosen)
    return with_bank(method, result, bank, chosen)


def bank_of_run(method: Method[Any], folder: Path | None, name: str, inference: Inference) -> Bank | None:
    """Returns the bank of that name in a run folder; None where there is none for these options."""
    kept = load_bank(folder / FILE, name) if folder is not None else None
    return kept if kept is not None and kept.reading == reading(inference.of(method)) else None


def bank_for(
    method: Method[Any], folder: Path | None, name: str, pairs: Pairs | None, given: Pairs | None, inference: Inference
) -> Bank | None:
    """Returns the bank that `inference.normalise` needs: of given pairs, else that of the run folder; None without need.

    Args:
        method: the method that encodes.
        folder: the run folder, if there is one.
        name: name of the bank in it.
        pairs: the pairs that are evaluated, if there are any.
        given: training pairs.
        inference: options of inference.

    Raises:
        MethodError: there is no bank for these options.
        DataError: the given pairs are those that are evaluated.
    """
    if inference.normalise == "none":
        if given is not None:
            raise MethodError("a bank has no effect without --normalise bank. Add it, or leave --bank out.")
        return None
    complete = inference.of(method)
    if given is not None:
        train = bank_pairs(given, pairs)
        return bank_of(method, train, cached_images(train, method), complete)
    kept = bank_of_run(method, folder, name, inference)
    if kept is None:
        raise MethodError(NO_BANK)
    return kept


def keep_for_inference(
    folder: Path, method: Method[Any], train: tuple[Pairs, Images], validation: tuple[Pairs, Images] | None
) -> float | None:
    """Writes the banks of a run and of its untouched backbone to the run folder, and the run's temperatures.

    Returns the Rsum of the untouched backbone on the validation pairs, if there are any.

    Validation pairs choose beta and form of a bank, and the temperatures; without any there are no temperatures.
    """
    banks, untouched = {}, None
    for name, reader in ((OWN, method), (UNTOUCHED, build("zero_shot", method.backbone))):
        inference = Inference().of(reader)
        bank = bank_of(reader, *train, inference)
        if validation is not None:
            ranked = rank(reader, *validation, inference)
            bank = judged(bank, ranked, validation[0])
            if name == UNTOUCHED:
                untouched = rsum(*map(recall, ranked.ranks))
            if name == OWN:
                validation_temperatures(method, ranked).save(folder)
        banks[name] = bank
    save_banks(folder / FILE, banks)
    return untouched


def judged(bank: Bank, ranked: Ranked, pairs: Pairs) -> Bank:
    """Returns a bank with what validation pairs say about it: beta, form, its use in search, and the line of likely results."""
    owner = torch.tensor(pairs.caption_owner)
    beta, form = best_correction(bank, ranked.scores, pairs)
    bank = replace(bank, beta=beta, form=form)
    corrected = rank_scores(bank.correct(ranked.scores, Inference(normalise="bank")), owner)
    found, before = (recall(ranks[1]) for ranks in (corrected, ranked.first or ranked.ranks))
    helps = found.r1 + found.r5 + found.r10 > before.r1 + before.r5 + before.r10
    return replace(bank, helps=helps, line=line_of(*right_images(ranked.scores, owner)))


def right_images(scores: Scores, owner: Tensor) -> tuple[Floats, Floats]:
    """Returns (M,) the score of each caption with its image, and (M,) the same in spreads above the caption's mean (z)."""
    own = scores.own(owner, torch.arange(len(owner)))[1]
    parts = []
    for start in range(0, len(owner), BLOCK):
        t2i = scores.block(slice(0, scores.image_count), slice(start, min(start + BLOCK, len(owner))))[1]  # (N, m)
        parts.append((own[start : start + BLOCK] - t2i.mean(0)) / t2i.std(0, correction=0).clamp_min(1e-6))
    return own.numpy(), torch.cat(parts).numpy()


def best_correction(bank: Bank, scores: Scores, pairs: Pairs) -> tuple[float, Correction]:
    """Returns the beta with the largest Rsum where every query is corrected, and the form that is best with it.

    They come from the first scores of validation pairs. Of equal ones the first is taken.
    """
    owner = torch.tensor(pairs.caption_owner)
    of_images, of_captions = held(crossed(scores, bank.scores)), held(crossed(bank.scores, scores))
    scores = held(scores)

    def total(beta: float, form: Correction) -> float:
        i2t, t2i = rank_scores(corrected(scores, of_images, of_captions, beta, form), owner)
        return rsum(recall(i2t), recall(t2i))

    found = {beta: total(beta, "bank") for beta in BETAS}
    best = max(BETAS, key=found.__getitem__)
    return best, "dynamic" if total(best, "dynamic") > found[best] else "bank"
