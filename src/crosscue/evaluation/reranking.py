"""Re-ranking: the first k candidates of every query scored again as pairs, the rest left where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.evaluation.ranks import TIE, Ranks
from crosscue.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.methods.contract import Method

PAIRS_AT_ONCE = 256


def rerank(
    method: Method[Any],
    pictures: Tensor,
    captions: Tensor,
    texts: Sequence[str],
    owner: Tensor,
    plain: tuple[Ranks, Ranks],
    *,
    top: int,
    beside: Tensor | None = None,
) -> tuple[Ranks, Ranks]:
    """Ranks both directions again, the first `top` candidates by `Method.pair_scores`.

    The method sees a query and one candidate at a time, never which is right; `owner` is used only to read the ranks off.

    Args:
        method: gives pair scores.
        pictures: (N, D) unit vectors.
        captions: (M, D) unit vectors.
        texts: the M captions.
        owner: (M,) the picture of each caption.
        plain: the ranks without re-ranking; they stay for queries whose positives are not among the first `top`.
        top: candidates scored again.
        beside: (N, E) `Method.pair_features` of the pictures; default their embeddings.

    Returns:
        image to text and text to image.
    """
    seen = pictures if beside is None else beside
    with torch.no_grad(), progress("re-ranking", len(pictures) + len(captions), "queries") as advance:

        def direction(queries: Tensor, gallery: Tensor, positive: Tensor, ranks: Ranks, image_first: bool) -> Ranks:
            better, tied, positives = ranks.better.copy(), ranks.tied.copy(), ranks.tied_positives.copy()
            for start in range(0, len(queries), PAIRS_AT_ONCE):
                rows = torch.arange(start, min(start + PAIRS_AT_ONCE, len(queries)))
                scores, candidates = (queries[rows] @ gallery.T).topk(min(top, len(gallery)), dim=1)  # (b, k)
                query = rows[:, None].expand_as(candidates)
                image, caption = (query, candidates) if image_first else (candidates, query)
                again = pair_scores(method, seen, texts, image.flatten(), caption.flatten(), scores.flatten())
                again = again.view_as(scores)
                right = owner[candidates] == query if image_first else candidates == positive[query]
                best = again.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
                near = (again - best).abs() <= TIE
                found = right.any(1).numpy()
                where = rows.numpy()[found]
                better[where] = (again > best + TIE).sum(1).numpy()[found]
                tied[where] = near.sum(1).numpy()[found]
                positives[where] = (near & right).sum(1).numpy()[found]
                advance(len(rows))
            return Ranks(better, tied, positives)

        return (
            direction(pictures, captions, owner, plain[0], True),
            direction(captions, pictures, owner, plain[1], False),
        )


def pair_scores(
    method: Method[Any], pictures: Tensor, texts: Sequence[str], image: Tensor, caption: Tensor, plain: Tensor
) -> Tensor:
    """Scores (P,) candidate pairs, each given as a picture's and a caption's number, in batches of captions of similar length."""
    order = sorted(range(len(image)), key=lambda pair: len(texts[int(caption[pair])]))
    scores = torch.empty(len(order))
    device = method.backbone.device
    for start in range(0, len(order), PAIRS_AT_ONCE):
        chosen = torch.tensor(order[start : start + PAIRS_AT_ONCE])
        batch = [texts[int(number)] for number in caption[chosen]]
        own = pictures[image[chosen]].to(device)
        scores[chosen] = method.pair_scores(own, plain[chosen].to(device), batch).float().cpu()
    return scores
