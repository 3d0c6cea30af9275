"""Measuring a method on held-out pairs: each modality encoded without the other, then both directions ranked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import embed_texts
from crosscue.errors import DataError
from crosscue.evaluation.diagnostics import diagnose
from crosscue.evaluation.ranks import TIE, Ranks, rank_scores, reranked
from crosscue.evaluation.recall import Recall, hits, recall
from crosscue.evaluation.result import ARROWS, Retrieval
from crosscue.evaluation.slices import by_category, by_wording
from crosscue.methods.capabilities import LateInteraction, ReadsTogether, require
from crosscue.methods.contract import Method
from crosscue.methods.registry import build
from crosscue.retrieval.conditioning import ConditionedPictures
from crosscue.retrieval.encoding import embed_captions, embed_images
from crosscue.retrieval.enrichment import enriched, enrichment_protocol
from crosscue.retrieval.late_scores import late_scores
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import EmbeddedPairs, Scorer, rerank, second_look
from crosscue.retrieval.scores import Cosines, Scores

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.data.pairs import Pairs


def evaluate(
    method: Method[Any], pairs: Pairs, images: Images, inference: Inference | None = None, *, batch_size: int = 32
) -> Retrieval:
    """Embeds a gallery and its captions, each without the other, and ranks both directions.

    Args:
        method: what encodes.
        pairs: pictures with at least one caption each.
        images: the pictures of `pairs`, by position.
        inference: how captions are encoded and candidates compared; default plain.
        batch_size: pictures encoded at once.

    Raises:
        DataError: a picture has no caption, or the method lacks knowledge of one.
        MethodError: the method has no such inference mode.
    """
    inference = (inference or Inference()).of(method)
    require(method, pairs.captions, inference.knowledge)
    for pair in pairs:
        if not pair.captions:
            raise DataError(f"{pair.where or pair.image.name}: no caption, so the pair cannot be evaluated. Remove it.")
    if isinstance(method, LateInteraction):
        scores = late_scores(method, images, len(pairs), pairs.captions, method.backbone.device, batch_size)
        return result_of(method, pairs, scores, rank_scores(scores, torch.tensor(pairs.caption_owner)), inference)
    pictures = embed_images(method, images, len(pairs), batch_size)
    owner = torch.tensor(pairs.caption_owner)
    if inference.views is not None:
        pictures = enriched(method, pairs, pictures, inference)
    captions = embed_captions(method, pairs.captions, inference)
    if not inference.rerank:
        return score(method, pairs, pictures, captions, inference)
    first = pictures, captions
    if inference.preselect == "clip":
        untouched = build("zero_shot", method.backbone)
        first = (
            embed_images(untouched, images, len(pairs), batch_size),
            embed_texts(pairs.captions, untouched.encode_text),
        )
    scorer = second_look(method, images, pictures, captions, pairs.captions, inference, batch_size)
    if not isinstance(scorer, ConditionedPictures):
        return score(method, pairs, *first, inference, scorer)
    scorer.announce(len(pairs), inference.top)
    result = score(method, pairs, *first, inference, scorer)
    if not inference.diagnostics:
        return result
    controls = diagnose(scorer, owner, first, top=inference.top, sample=inference.diagnostics)
    return replace(result, diagnostics=controls)


def score(
    method: Method[Any],
    pairs: Pairs,
    pictures: Tensor,
    captions: Tensor,
    inference: Inference | None = None,
    scorer: Scorer | None = None,
) -> Retrieval:
    """Ranks embeddings, and with `rerank` the first candidates again by `scorer`.

    The pairing enters here, after both modalities were encoded, and only says what was right.
    """
    inference = (inference or Inference(rerank=False)).of(method)
    owner = torch.tensor(pairs.caption_owner)
    if inference.centre:
        pictures = normalize(pictures - pictures.mean(0), dim=-1)
        captions = normalize(captions - captions.mean(0), dim=-1)
    scores = Cosines(pictures, captions)
    first = rank_scores(scores, owner)
    if not inference.rerank:
        return result_of(method, pairs, scores, first, inference)
    again = rerank(pictures, captions, scorer or EmbeddedPairs(method, pictures, pairs.captions), top=inference.top)
    ranked = reranked(again, owner, first)
    return result_of(method, pairs, scores, ranked, inference, reranking_protocol(method, inference, *first))


def result_of(
    method: Method[Any],
    pairs: Pairs,
    scores: Scores,
    ranked: tuple[Ranks, Ranks],
    inference: Inference,
    reranking: dict[str, Any] | None = None,
) -> Retrieval:
    """Returns the recalls of both directions, with everything a number needs beside it."""
    i2t, t2i = ranked
    per_image = [len(pair.captions) for pair in pairs]
    backbone = method.backbone
    protocol = {
        "method": method.name,
        "backbone": backbone.source,
        "backbone_revision": backbone.revision,
        "backbone_checkpoint": backbone.checkpoint,
        "image_size": backbone.pixels.size,
        "precision": backbone.precision.name,
        "source": pairs.source,
        "data_fingerprint": pairs.fingerprint(),
        "gallery": len(pairs),
        "captions": scores.captions,
        "captions_per_image": [min(per_image), max(per_image)],
        "score": scores.kind,
        "ties": f"expected value under random tie-breaking; scores within {TIE:g} are tied",
        "text_mode": inference.mode,
        **(reranking or {}),
        **enrichment_protocol(inference),
        "centred": inference.centre,
        "comparable": True,
    }
    return Retrieval(
        recall(i2t),
        recall(t2i),
        {"i2t": i2t, "t2i": t2i},
        np.array(pairs.caption_owner),
        by_category(pairs, i2t, t2i),
        {} if reranking else _group_aware(pairs, scores, i2t, t2i),
        protocol,
        scores,
        by_wording(pairs.captions, t2i),
    )


def reranking_protocol(method: Method[Any], inference: Inference, i2t: Ranks, t2i: Ranks) -> dict[str, Any]:
    """Returns what a re-ranked number needs beside it; the ceiling is the pre-selection's R@k, which no order of k can exceed."""
    counts = {"i2t": len(t2i.better), "t2i": len(i2t.better)}  # gallery sizes
    depth = {direction: min(inference.top, count) for direction, count in counts.items()}
    ceiling = {d: 100 * float(hits(own, depth[d]).mean()) for d, own in (("i2t", i2t), ("t2i", t2i))}
    every = [ARROWS[direction] for direction, count in counts.items() if inference.top >= count]
    first = f"first {inference.top} re-ranked" + (f"; that is all candidates {' and '.join(every)}" if every else "")
    by = "the untouched backbone" if inference.preselect == "clip" else "this method, pictures and captions alone"
    pooled = {"pooled": inference.pooled} if isinstance(method, ReadsTogether) else {}
    return {"re-ranking": first, **pooled, "pre-selected_by": by, "ceiling": ceiling}


def _group_aware(pairs: Pairs, scores: Scores, i2t: Ranks, t2i: Ranks) -> dict[str, Recall]:
    """Recall with every (picture, caption) pair right whose caption string one of the picture's own captions equals."""
    strings = pairs.captions
    owners: dict[str, list[int]] = defaultdict(list)
    first: list[int] = []
    for caption, (index, text) in enumerate(zip(pairs.caption_owner, strings, strict=True)):
        if text not in owners:
            first.append(caption)
        if index not in owners[text]:
            owners[text].append(index)
    unique = list(owners)
    place = {text: number for number, text in enumerate(unique)}
    if len(unique) == len(strings):
        return {"i2t": recall(i2t), "t2i": recall(t2i)}
    links = torch.tensor([(place[text], image) for text in unique for image in owners[text]])  # (L, 2)
    distinct, everything = scores.chosen(torch.tensor(first)), slice(None)
    by_image = _best_of(lambda rows: distinct.block(rows, everything)[0], scores.pictures, links[:, 1], links[:, 0])
    by_text = _best_of(lambda rows: distinct.block(everything, rows)[1].T, len(unique), links[:, 0], links[:, 1])
    query = torch.tensor([place[text] for text in strings]).numpy()
    of_caption = Ranks(by_text.better[query], by_text.tied[query], by_text.tied_positives[query])
    return {"i2t": recall(by_image), "t2i": recall(of_caption)}


def _best_of(score: Callable[[slice], Tensor], count: int, query: Tensor, positive: Tensor) -> Ranks:
    """Ranks of `count` queries that may share positives: `query[l]` and `positive[l]` name one right pair each."""
    columns: Sequence[np.ndarray] = [np.zeros(count, dtype=np.int64) for _ in range(3)]
    for start in range(0, count, 256):
        stop = min(start + 256, count)
        scores = score(slice(start, stop))
        inside = (query >= start) & (query < stop)
        right = torch.zeros(scores.shape, dtype=torch.bool)
        right[query[inside] - start, positive[inside]] = True
        best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        tied = (scores - best).abs() <= TIE
        for column, values in zip(columns, ((scores > best + TIE), tied, tied & right), strict=True):
            column[start:stop] = values.sum(1).numpy()
    return Ranks(*columns)
