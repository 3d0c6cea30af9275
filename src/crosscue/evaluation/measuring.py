"""Measuring a method on held-out pairs: each modality encoded without the other, then both directions ranked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.data.features import features_protocol
from crosscue.errors import DataError, MethodError
from crosscue.evaluation.diagnostics import diagnose
from crosscue.evaluation.ranks import TIE, Ranks, rank_scores, reranked
from crosscue.evaluation.recall import hits, metrics, recall
from crosscue.evaluation.result import ARROWS, Retrieval
from crosscue.methods.capabilities import LateInteraction, ReadsTogether, require
from crosscue.methods.contract import Method
from crosscue.methods.lengths import cut_captions
from crosscue.retrieval.bank import Bank, preselected_by_clip
from crosscue.retrieval.conditioning import ConditionedImages
from crosscue.retrieval.encoding import embed_captions, embed_images, untouched_embeddings
from crosscue.retrieval.enrichment import enriched, enrichment_protocol
from crosscue.retrieval.late_scores import late_scores
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import Reranked, Scorer, rerank, second_look
from crosscue.retrieval.scores import Cosines, Scores

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.data.pairs import Pairs
    from crosscue.evaluation.survey import Survey


NO_BANK = (
    "--normalise needs a bank of training queries, and there is none. Name the training pairs: --bank SOURCE "
    "(in Python: bank=SOURCE)."
)


@dataclass(frozen=True)
class Ranked:
    """Ranks of a gallery and its captions, and what they come from."""

    scores: Scores
    """Scores of every image with every caption, before re-ranking."""
    ranks: tuple[Ranks, Ranks]
    """Image to text and text to image."""
    first: tuple[Ranks, Ranks] | None = None
    """Ranks before re-ranking; None without it."""
    scorer: Scorer | None = None
    """Scores of re-ranking."""
    again: tuple[Reranked, Reranked] | None = None
    """Candidates of re-ranking with their new scores."""
    survey: Survey | None = None
    """Other parts that were read in the pass over `scores`."""


def evaluate(
    method: Method[Any],
    pairs: Pairs,
    images: Images,
    inference: Inference | None = None,
    *,
    bank: Bank | None = None,
    batch_size: int = 32,
    survey: Survey | None = None,
) -> Retrieval:
    """Embeds a gallery and its captions, each without the other, and ranks both directions.

    Args:
        method: the method that encodes.
        pairs: images with at least one caption each.
        images: the images of `pairs`, by position.
        inference: options of inference; default those of the method.
        bank: training queries, which `inference.normalise` needs.
        batch_size: images encoded at once.
        survey: reads the scores in the pass that ranks.

    Raises:
        DataError: an image has no caption, or the method lacks knowledge of one.
        MethodError: the method does not have what the options need.
    """
    inference = (inference or Inference()).of(method)
    ranked = rank(method, pairs, images, inference, batch_size, bank, survey)
    result = result_of(method, pairs, ranked, inference, bank)
    scorer, first = ranked.scorer, ranked.scores
    if not isinstance(scorer, ConditionedImages) or not inference.diagnostics:
        return result
    owner = torch.tensor(pairs.caption_owner)
    return replace(result, diagnostics=diagnose(scorer, owner, first, top=inference.top, sample=inference.diagnostics))


def validation_metrics(method: Method[Any], pairs: Pairs, images: Images) -> dict[str, float]:
    """Returns the recalls of both directions and their sum, with the method's options of inference, and nothing else."""
    i2t, t2i = rank(method, pairs, images, Inference().of(method)).ranks
    return metrics(recall(i2t), recall(t2i))


def rank(
    method: Method[Any],
    pairs: Pairs,
    images: Images,
    inference: Inference,
    batch_size: int = 32,
    bank: Bank | None = None,
    survey: Survey | None = None,
) -> Ranked:
    """Returns the ranks of `evaluate`; the options of inference are complete (`Inference.of`)."""
    require(method, pairs.captions, inference.knowledge)
    for pair in pairs:
        if not pair.captions:
            raise DataError(f"{pair.where or pair.image.name}: no caption, so the pair cannot be evaluated. Remove it.")
    if isinstance(method, LateInteraction):
        late = late_scores(method, images, len(pairs), pairs.captions, method.backbone.device, batch_size)
        scores = corrected(late, inference, bank)
        return Ranked(scores, _ranks(scores, pairs, survey), survey=survey)
    gallery = embed_images(method, images, len(pairs), batch_size)
    if inference.views is not None:
        gallery = enriched(method, pairs, gallery, inference)
    captions = embed_captions(method, pairs.captions, inference)
    first, scorer = (gallery, captions), None
    if inference.rerank:
        if preselected_by_clip(inference):
            first = untouched_embeddings(method.backbone, pairs.captions, images, len(pairs), batch_size)
        scorer = second_look(method, images, len(pairs), captions, pairs.captions, inference, batch_size)
        if isinstance(scorer, ConditionedImages):
            scorer.announce(len(pairs), inference.top)
    return rank_embeddings(pairs, *first, inference, scorer, bank, survey)


def score(
    method: Method[Any],
    pairs: Pairs,
    gallery: Tensor,
    captions: Tensor,
    inference: Inference | None = None,
    survey: Survey | None = None,
) -> Retrieval:
    """Ranks embeddings (N, D) and (M, D) without re-ranking."""
    inference = replace(inference or Inference(), rerank=False).of(method)
    return result_of(method, pairs, rank_embeddings(pairs, gallery, captions, inference, survey=survey), inference)


def rank_embeddings(
    pairs: Pairs,
    gallery: Tensor,
    captions: Tensor,
    inference: Inference,
    scorer: Scorer | None = None,
    bank: Bank | None = None,
    survey: Survey | None = None,
) -> Ranked:
    """Ranks embeddings, and the first candidates again by `scorer`, if there is one.

    The pairing enters here, after both modalities were encoded, and only decides what was right.
    """
    if inference.centre:
        gallery = normalize(gallery - gallery.mean(0), dim=-1)
        captions = normalize(captions - captions.mean(0), dim=-1)
    scores = corrected(Cosines(gallery, captions), inference, bank)
    first = _ranks(scores, pairs, survey)
    if scorer is None:
        return Ranked(scores, first, survey=survey)
    again = rerank(scores, scorer, top=inference.top)
    owner = torch.tensor(pairs.caption_owner)
    return Ranked(scores, reranked(again, owner, first), first, scorer, again, survey)


def _ranks(scores: Scores, pairs: Pairs, survey: Survey | None) -> tuple[Ranks, Ranks]:
    return rank_scores(scores, torch.tensor(pairs.caption_owner)) if survey is None else survey.read(scores)


def corrected(scores: Scores, inference: Inference, bank: Bank | None) -> Scores:
    """Returns the first scores of a gallery, corrected for hubness if `inference` has it.

    Raises:
        MethodError: there is no bank.
    """
    if inference.normalise == "none":
        return scores
    if bank is None:
        raise MethodError(NO_BANK)
    return bank.correct(scores, inference)


def with_bank(method: Method[Any], result: Retrieval, bank: Bank, inference: Inference) -> Retrieval:
    """Returns a result without re-ranking once more, with its scores corrected; nothing is encoded again."""
    assert result.pairs is not None
    assert result.scores is not None
    scores = bank.correct(result.scores, inference)
    ranked = Ranked(scores, rank_scores(scores, torch.tensor(result.pairs.caption_owner)))
    return result_of(method, result.pairs, ranked, inference, bank)


def result_of(
    method: Method[Any], pairs: Pairs, ranked: Ranked, inference: Inference, bank: Bank | None = None
) -> Retrieval:
    """Returns the recalls of both directions, with everything a number needs beside it."""
    i2t, t2i = ranked.ranks
    scores = ranked.scores
    reranking = reranking_protocol(method, inference, *ranked.first) if ranked.first is not None else {}
    per_image = [len(pair.captions) for pair in pairs]
    backbone, cut = method.backbone, cut_captions(method, pairs.captions)
    protocol = {
        "method": method.name,
        "backbone": backbone.source,
        "backbone_revision": backbone.revision,
        "backbone_checkpoint": backbone.checkpoint,
        "image_size": backbone.pixels.size,
        "precision": backbone.precision.name,
        "source": pairs.source,
        "data_fingerprint": pairs.fingerprint(),
        **features_protocol(pairs.images),
        "gallery": len(pairs),
        "captions": scores.caption_count,
        "captions_per_image": [min(per_image), max(per_image)],
        **({"captions_cut": cut} if cut else {}),
        "score": scores.kind,
        "ties": f"expected value under random tie-breaking; scores within {TIE:g} are tied",
        "text_mode": inference.mode,
        **reranking,
        **enrichment_protocol(inference),
        "centred": inference.centre,
        "normalised": inference.normalise,
        **(bank.protocol(inference) if bank is not None and inference.normalise != "none" else {}),
        "comparable": True,
    }
    ranks = {"i2t": i2t, "t2i": t2i}
    owner = np.array(pairs.caption_owner)
    return Retrieval(recall(i2t), recall(t2i), ranks, owner, protocol, pairs, scores, ranked.again, ranked.survey)


def reranking_protocol(method: Method[Any], inference: Inference, i2t: Ranks, t2i: Ranks) -> dict[str, Any]:
    """Returns what a re-ranked number needs beside it; the ceiling is the pre-selection's R@k, which no order of k can exceed."""
    counts = {"i2t": len(t2i.better), "t2i": len(i2t.better)}  # gallery sizes
    depth = {direction: min(inference.top, count) for direction, count in counts.items()}
    ceiling = {d: 100 * float(hits(own, depth[d]).mean()) for d, own in (("i2t", i2t), ("t2i", t2i))}
    every = [ARROWS[direction] for direction, count in counts.items() if inference.top >= count]
    first = f"first {inference.top} re-ranked" + (f"; that is all candidates {' and '.join(every)}" if every else "")
    by = "the untouched backbone" if inference.preselect == "clip" else "this method, images and captions alone"
    pooled = {"pooled": inference.pooled} if isinstance(method, ReadsTogether) else {}
    return {"re-ranking": first, **pooled, "pre-selected_by": by, "ceiling": ceiling}
