"""Re-ranking: the first k candidates of every query scored again, the rest left where they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from crosscue.methods.capabilities import ReadsTogether
from crosscue.progress import progress
from crosscue.retrieval.conditioning import ConditionedImages
from crosscue.retrieval.encoding import pair_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.backbones.frozen import Images
    from crosscue.methods.capabilities import ScoresPairs
    from crosscue.methods.contract import Method
    from crosscue.retrieval.options import Inference
    from crosscue.retrieval.scores import Scores

QUERIES_AT_ONCE = 256
PAIRS_AT_ONCE = 256


class Scorer(Protocol):
    """Scores of candidates. It receives queries and candidates, and never which candidate is right."""

    def __call__(self, image: Tensor, caption: Tensor, plain: Tensor, *, image_first: bool) -> Tensor:
        """Scores k candidates of b queries.

        Args:
            image: (b, k) indices of images.
            caption: (b, k) indices of captions.
            plain: (b, k) the scores they were pre-selected by.
            image_first: the rows are images that look for captions; otherwise captions that look for images.

        Returns:
            (b, k).
        """
        ...


@dataclass(frozen=True)
class Reranked:
    """The candidates of every query of one direction, and their new scores."""

    image: Tensor
    """(Q, k) indices of images."""
    caption: Tensor
    """(Q, k) indices of captions."""
    scores: Tensor
    """(Q, k)"""


def rerank(first: Scores, scorer: Scorer, *, top: int) -> tuple[Reranked, Reranked]:
    """Returns the first `top` candidates of every query with their new scores: image to text and text to image.

    Args:
        first: scores of N images and M captions, which pre-select.
        scorer: gives the new scores.
        top: candidates of a query; all of them where there are fewer.
    """
    with torch.no_grad(), progress("re-ranking", first.image_count + first.caption_count, "queries") as advance:

        def direction(count: int, image_first: bool) -> Reranked:
            parts = []
            for start in range(0, count, QUERIES_AT_ONCE):
                rows = slice(start, min(start + QUERIES_AT_ONCE, count))
                image, caption, scores = candidates_of(first, rows, top, image_first=image_first)
                parts.append((image, caption, scorer(image, caption, scores, image_first=image_first)))
                advance(len(scores))
            return Reranked(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

        return direction(first.image_count, True), direction(first.caption_count, False)


def order(plain: Tensor, candidates: Tensor, again: Tensor) -> Tensor:
    """Returns all C candidates of a query, best first: those with new scores, then the others by their first scores.

    Args:
        plain: (C,) first scores.
        candidates: (k,) candidates that were scored again; may be empty.
        again: (k,) their new scores.
    """
    rest = plain.argsort(descending=True, stable=True)
    behind = rest[~torch.isin(rest, candidates)]
    return torch.cat([candidates[again.argsort(descending=True, stable=True)], behind])


def candidates_of(first: Scores, rows: slice, top: int, *, image_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the first `top` candidates of some queries: indices of images and captions (b, k), and their scores (b, k)."""
    if image_first:
        by_query = first.block(rows, slice(0, first.caption_count))[0]  # (b, M)
    else:
        by_query = first.block(slice(0, first.image_count), rows)[1].T  # (b, N)
    scores, candidates = by_query.topk(min(top, by_query.shape[1]), dim=1)
    query = torch.arange(rows.start, rows.stop)[:, None].expand_as(candidates)
    return (query, candidates, scores) if image_first else (candidates, query, scores)


class EmbeddedPairs:
    """Scores pairs by `ScoresPairs.pair_scores`, from the embeddings of images and the strings of captions."""

    def __init__(self, method: Method[Any], gallery: Tensor, texts: Sequence[str]) -> None:
        self.method, self.gallery, self.texts = method, gallery, texts

    def __call__(self, image: Tensor, caption: Tensor, plain: Tensor, *, image_first: bool) -> Tensor:
        """See `Scorer`; pairs are scored in batches of captions of similar length."""
        images, captions, given = image.flatten(), caption.flatten(), plain.flatten()
        order = sorted(range(len(images)), key=lambda pair: len(self.texts[int(captions[pair])]))
        pairs = cast("ScoresPairs", self.method)
        scores = torch.empty(len(order))
        device = self.method.backbone.device
        for start in range(0, len(order), PAIRS_AT_ONCE):
            chosen = torch.tensor(order[start : start + PAIRS_AT_ONCE])
            batch = [self.texts[int(number)] for number in captions[chosen]]
            own = self.gallery[images[chosen]].to(device)
            scores[chosen] = pairs.pair_scores(own, given[chosen].to(device), batch).float().cpu()
        return scores.view_as(plain)


def second_look(
    method: Method[Any],
    images: Images,
    count: int,
    captions: Tensor,
    texts: Sequence[str],
    inference: Inference,
    batch_size: int,
) -> Scorer:
    """Returns the scorer of re-ranking for `count` images and texts with (M, D) embeddings."""
    if isinstance(method, ReadsTogether):
        return ConditionedImages(method, images, captions, texts, inference.pooled, inference.pairs_at_once)
    return EmbeddedPairs(method, pair_features(method, images, count, batch_size), texts)
