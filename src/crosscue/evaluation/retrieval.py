"""Measuring a method on held-out pairs: both directions, with everything a number needs beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import embed_texts
from crosscue.backbones.protocol import Pictures
from crosscue.errors import DataError, RunError
from crosscue.evaluation.conditioning import ConditionedPictures
from crosscue.evaluation.diagnostics import Diagnostic, diagnose
from crosscue.evaluation.enrichment import enriched, enrichment_protocol
from crosscue.evaluation.inference import Inference
from crosscue.evaluation.intervals import Interval, interval
from crosscue.evaluation.late_scores import late_scores
from crosscue.evaluation.ranks import TIE, Ranks, rank_scores
from crosscue.evaluation.recall import KS, Recall, hits, recall, rsum
from crosscue.evaluation.reranking import MODES, EmbeddedPairs, Scorer, rerank
from crosscue.evaluation.scores import Cosines, Scores
from crosscue.methods.contract import Method
from crosscue.methods.late_interaction import LateInteraction
from crosscue.methods.registry import build
from crosscue.progress import progress
from crosscue.storage import write_text

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.training.feed import Images

DIRECTIONS = ("i2t", "t2i")
ARROWS = {"i2t": "image → text", "t2i": "text → image"}


@dataclass(frozen=True)
class Retrieval:
    """Recall of one method on one set of pairs."""

    i2t: Recall
    t2i: Recall
    ranks: dict[str, Ranks]
    """Per query, for paired tests and intervals; `i2t` by picture, `t2i` by caption."""
    owner: np.ndarray
    """(M,) the picture of each caption."""
    categories: dict[str, dict[str, float]]
    """Category -> R@1 of both directions and number of pictures."""
    group_aware: dict[str, Recall]
    """Recall when any picture that shares the caption string counts as right; empty after re-ranking."""
    protocol: dict[str, Any]
    """Gallery size, captions per image, tie rule, hashes, method, backbone, precision."""
    scores: Scores | None = field(default=None, repr=False, compare=False)
    """Of every picture with every caption, before re-ranking; not written to disk."""
    diagnostics: Sequence[Diagnostic] = ()
    """Controls of methods that read pictures beside sentences."""

    @property
    def rsum(self) -> float:
        """Sum of the six recalls, at most 600."""
        return rsum(self.i2t, self.t2i)

    @property
    def comparable(self) -> bool:
        """False for diagnostics that see the pairing; such numbers are stamped NOT COMPARABLE."""
        return bool(self.protocol["comparable"])

    def clusters(self, direction: str) -> np.ndarray:
        """(Q,) which queries are resampled together: the captions of one picture."""
        return np.arange(len(self.ranks["i2t"].better)) if direction == "i2t" else self.owner

    def interval(self, direction: str, k: int) -> Interval:
        """Returns R@k of one direction with its 95 % bootstrap interval."""
        return interval(hits(self.ranks[direction], k), self.clusters(direction))

    def metrics(self) -> dict[str, float]:
        """Returns flat numbers for a log: i2t_r1 ... t2i_r10, rsum."""
        flat = {f"{d}_{key}": value for d in DIRECTIONS for key, value in getattr(self, d).to_dict().items()}
        return flat | {"rsum": self.rsum}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; `from_dict` reads them back."""
        pessimistic = {direction: recall(self.ranks[direction], "pessimistic").to_dict() for direction in DIRECTIONS}
        intervals = {d: {f"r{k}": self.interval(d, k).to_dict() for k in KS} for d in DIRECTIONS}
        return {
            "i2t": self.i2t.to_dict(),
            "t2i": self.t2i.to_dict(),
            "rsum": self.rsum,
            "intervals": intervals,
            "pessimistic": pessimistic,
            "group_aware": {direction: result.to_dict() for direction, result in self.group_aware.items()},
            "categories": self.categories,
            "protocol": self.protocol,
            "diagnostics": [asdict(diagnostic) for diagnostic in self.diagnostics],
            "queries": {
                direction: {name: getattr(self.ranks[direction], name).tolist() for name in Ranks.__annotations__}
                for direction in DIRECTIONS
            }
            | {"owner": self.owner.tolist()},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Retrieval:
        """Reads what `to_dict` wrote.

        Raises:
            RunError: it is something else.
        """
        try:
            stored = {
                direction: Ranks(**{name: np.asarray(values) for name, values in content["queries"][direction].items()})
                for direction in DIRECTIONS
            }
            return cls(
                Recall(**content["i2t"]),
                Recall(**content["t2i"]),
                stored,
                np.asarray(content["queries"]["owner"]),
                content["categories"],
                {direction: Recall(**result) for direction, result in content["group_aware"].items()},
                content["protocol"],
                diagnostics=[Diagnostic(**diagnostic) for diagnostic in content.get("diagnostics", [])],
            )
        except (KeyError, TypeError) as error:
            raise RunError(f"not a result written by crosscue evaluate ({error}). Measure again.") from error

    def save(self, path: Path) -> None:
        """Writes the result as JSON, atomically."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")


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
    method.prepare(pairs.captions, inference.knowledge)
    for pair in pairs:
        if not pair.captions:
            raise DataError(f"{pair.where or pair.image.name}: no caption, so the pair cannot be evaluated. Remove it.")
    if isinstance(method, LateInteraction):
        scores = late_scores(method, images, len(pairs), pairs.captions, method.backbone.device, batch_size)
        return result_of(method, pairs, scores, rank_scores(scores, torch.tensor(pairs.caption_owner)), inference)
    pictures = embed_pictures(method, images, len(pairs), batch_size)
    owner = torch.tensor(pairs.caption_owner)
    if inference.inference == "oracle":
        own = pair_features(method, images, pictures, batch_size)[owner]
        captions = embed_beside(method, pairs.captions, own, batch_size)
        return score(method, pairs, pictures, captions, inference)
    if inference.inference == "enriched":
        pictures = enriched(method, pairs, pictures, inference)
    method.inference = "plain" if inference.inference in (*MODES, "enriched") else str(inference.inference)
    try:
        captions = embed_texts(pairs.captions, method.encode_text)
    finally:
        method.inference = "plain"
    if inference.inference not in MODES:
        return score(method, pairs, pictures, captions, inference)
    first = pictures, captions
    if inference.preselect == "clip":
        untouched = build("zero_shot", method.backbone)
        first = (
            embed_pictures(untouched, images, len(pairs), batch_size),
            embed_texts(pairs.captions, untouched.encode_text),
        )
    if not method.reads_with_sentences:
        seen = pair_features(method, images, pictures, batch_size)
        return score(method, pairs, *first, inference, EmbeddedPairs(method, seen, pairs.captions))
    scorer = ConditionedPictures(
        method, images, captions, pairs.captions, inference.inference == "pooled", inference.pairs_at_once
    )
    scorer.announce(len(pairs), inference.top)
    result = score(method, pairs, *first, inference, scorer)
    if not inference.diagnostics:
        return result
    controls = diagnose(scorer, owner, first, top=inference.top, sample=inference.diagnostics)
    return replace(result, diagnostics=controls)


def embed_beside(method: Method[Any], texts: Sequence[str], pictures: Tensor, batch_size: int) -> Tensor:
    """Returns (M, D): each caption beside the pair features (M, E) of one picture."""
    parts, device = [], method.backbone.device
    with torch.no_grad():
        for start in range(0, len(texts), batch_size):
            own = pictures[start : start + batch_size].to(device)
            parts.append(method.text_given_image(texts[start : start + batch_size], own).cpu())
    return torch.cat(parts)


def pair_features(method: Method[Any], images: Images, pictures: Tensor, batch_size: int) -> Tensor:
    """Returns (N, E) what pair scores see of a gallery: its embeddings (N, D), unless the method wants more."""
    if type(method).pair_features is Method.pair_features:
        return pictures
    return embed_pictures(method, images, len(pictures), batch_size, method.pair_features)


def embed_pictures(
    method: Method[Any],
    images: Images,
    count: int,
    batch_size: int = 32,
    encode: Callable[[Pictures], Tensor] | None = None,
) -> Tensor:
    """Returns (N, D) unit vectors of a gallery, or what else `encode` makes of its pictures, on the CPU."""
    parts, encode = [], encode or method.encode_image
    with torch.no_grad(), progress("encoding pictures", count, "pictures") as advance:
        for start in range(0, count, batch_size):
            batch = images[range(start, min(start + batch_size, count))]
            parts.append(encode(batch.to(method.backbone.device)).cpu())
            advance(len(batch))
    return torch.cat(parts)


def score(
    method: Method[Any],
    pairs: Pairs,
    pictures: Tensor,
    captions: Tensor,
    inference: Inference | None = None,
    scorer: Scorer | None = None,
) -> Retrieval:
    """Ranks embeddings, and the first candidates again by `scorer` in modes that re-rank.

    The pairing enters here, after both modalities were encoded, and only says what was right.
    """
    inference = (inference or Inference("plain")).of(method)
    owner = torch.tensor(pairs.caption_owner)
    if inference.centre:
        pictures = normalize(pictures - pictures.mean(0), dim=-1)
        captions = normalize(captions - captions.mean(0), dim=-1)
    scores = Cosines(pictures, captions)
    first = rank_scores(scores, owner)
    if inference.inference not in MODES:
        return result_of(method, pairs, scores, first, inference)
    ranked = rerank(method, pictures, captions, pairs.captions, owner, first, top=inference.top, scorer=scorer)
    return result_of(method, pairs, scores, ranked, inference, reranking_protocol(inference, *first))


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
        "inference": inference.inference,
        **(reranking or {}),
        **enrichment_protocol(inference),
        "centred": inference.centre,
        "comparable": inference.inference != "oracle",
    }
    return Retrieval(
        recall(i2t),
        recall(t2i),
        {"i2t": i2t, "t2i": t2i},
        np.array(pairs.caption_owner),
        _by_category(pairs, i2t, t2i),
        {} if reranking else _group_aware(pairs, scores, i2t, t2i),
        protocol,
        scores,
    )


def reranking_protocol(inference: Inference, i2t: Ranks, t2i: Ranks) -> dict[str, Any]:
    """Returns what a re-ranked number needs beside it; the ceiling is the pre-selection's R@k, which no order of k can exceed."""
    counts = {"i2t": len(t2i.better), "t2i": len(i2t.better)}  # gallery sizes
    depth = {direction: min(inference.top, count) for direction, count in counts.items()}
    ceiling = {d: 100 * float(hits(own, depth[d]).mean()) for d, own in (("i2t", i2t), ("t2i", t2i))}
    every = [ARROWS[direction] for direction, count in counts.items() if inference.top >= count]
    first = f"first {inference.top} re-ranked" + (f"; that is all candidates {' and '.join(every)}" if every else "")
    by = "the untouched backbone" if inference.preselect == "clip" else "this method, pictures and captions alone"
    return {"re-ranking": first, "pre-selected_by": by, "ceiling": ceiling}


def _by_category(pairs: Pairs, i2t: Ranks, t2i: Ranks) -> dict[str, dict[str, float]]:
    hit = {"i2t": hits(i2t, 1), "t2i": hits(t2i, 1)}
    members: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"i2t": [], "t2i": []})
    for caption, image in enumerate(pairs.caption_owner):
        members[pairs[image].category or ""]["t2i"].append(caption)
    for image, pair in enumerate(pairs):
        members[pair.category or ""]["i2t"].append(image)
    return {
        category: {"images": len(rows["i2t"])} | {f"{d}_r1": 100 * float(hit[d][rows[d]].mean()) for d in DIRECTIONS}
        for category, rows in sorted(members.items())
        if category
    }


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
