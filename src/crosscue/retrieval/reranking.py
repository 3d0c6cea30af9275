"""Re-ranking: the first k candidates of every query scored again, the rest left where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from crosscue.evaluation.ranks import TIE, Ranks
from crosscue.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.methods.capabilities import ScoresPairs
    from crosscue.methods.contract import Method

QUERIES_AT_ONCE = 256
PAIRS_AT_ONCE = 256
MODES = ("pairwise", "pooled")
"""Inference modes that re-rank."""


class Scorer(Protocol):
    """Scores the candidates of queries. It is told who is asked about whom, and never who is right."""

    def __call__(self, image: Tensor, caption: Tensor, plain: Tensor, *, image_first: bool) -> Tensor:
        """Scores k candidates of b queries.

        Args:
            image: (b, k) numbers of pictures.
            caption: (b, k) numbers of captions.
            plain: (b, k) the scores they were pre-selected by.
            image_first: the rows are pictures that look for captions; otherwise captions that look for pictures.

        Returns:
            (b, k).
        """
        ...


def rerank(
    method: Method[Any],
    pictures: Tensor,
    captions: Tensor,
    texts: Sequence[str],
    owner: Tensor,
    plain: tuple[Ranks, Ranks],
    *,
    top: int,
    scorer: Scorer | None = None,
) -> tuple[Ranks, Ranks]:
    """Ranks both directions again, the first `top` candidates by `scorer`.

    The scorer sees queries and candidates, never which is right; `owner` is used only to read the ranks off.

    Args:
        method: gives pair scores where there is no other scorer.
        pictures: (N, D) unit vectors that pre-select.
        captions: (M, D) unit vectors that pre-select.
        texts: the M captions.
        owner: (M,) the picture of each caption.
        plain: the ranks without re-ranking; they stay for queries whose positives are not among the first `top`.
        top: candidates scored again; more than there are means all.
        scorer: what scores; default `ScoresPairs.pair_scores`.

    Returns:
        image to text and text to image.
    """
    chosen = scorer or EmbeddedPairs(method, pictures, texts)
    with torch.no_grad(), progress("re-ranking", len(pictures) + len(captions), "queries") as advance:

        def direction(queries: Tensor, gallery: Tensor, ranks: Ranks, image_first: bool) -> Ranks:
            better, tied, positives = ranks.better.copy(), ranks.tied.copy(), ranks.tied_positives.copy()
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                rows = torch.arange(start, min(start + QUERIES_AT_ONCE, len(queries)))
                image, caption, scores = candidates_of(rows, queries, gallery, top, image_first=image_first)
                again = chosen(image, caption, scores, image_first=image_first)
                right = owner[caption] == image
                found = right.any(1)
                own, where = placed(again[found], right[found]), rows[found].numpy()
                better[where], tied[where], positives[where] = own.better, own.tied, own.tied_positives
                advance(len(rows))
            return Ranks(better, tied, positives)

        return (
            direction(pictures, captions, plain[0], True),
            direction(captions, pictures, plain[1], False),
        )


def candidates_of(
    rows: Tensor, queries: Tensor, gallery: Tensor, top: int, *, image_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the first `top` candidates of some queries: numbers of pictures and captions (b, k), and their scores (b, k)."""
    scores, candidates = (queries[rows] @ gallery.T).topk(min(top, len(gallery)), dim=1)
    query = rows[:, None].expand_as(candidates)
    return (query, candidates, scores) if image_first else (candidates, query, scores)


def placed(scores: Tensor, right: Tensor) -> Ranks:
    """Reads off where the best right candidate stands: (b, k) scores and (b, k) bool, true in every row -> ranks of b queries."""
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    near = (scores - best).abs() <= TIE
    counts = ((scores > best + TIE), near, near & right)
    return Ranks(*(count.sum(1).numpy() for count in counts))


class EmbeddedPairs:
    """Scores pairs by `ScoresPairs.pair_scores`, from the embeddings of pictures and the strings of captions."""

    def __init__(self, method: Method[Any], pictures: Tensor, texts: Sequence[str]) -> None:
        self.method, self.pictures, self.texts = method, pictures, texts

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
            own = self.pictures[images[chosen]].to(device)
            scores[chosen] = pairs.pair_scores(own, given[chosen].to(device), batch).float().cpu()
        return scores.view_as(plain)
