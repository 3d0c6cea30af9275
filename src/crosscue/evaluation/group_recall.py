"""Recall with every image right that shares the string of a caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crosscue.evaluation.ranks import Ranks, placed
from crosscue.evaluation.recall import Recall, recall

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.retrieval.scores import Scores


def group_aware(pairs: Pairs, scores: Scores, i2t: Ranks, t2i: Ranks) -> dict[str, Recall]:
    """Returns the recall with every pair right whose caption string one of the image's own captions equals."""
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
    by_image = _best_of(lambda rows: distinct.block(rows, everything)[0], scores.image_count, links[:, 1], links[:, 0])
    by_text = _best_of(lambda rows: distinct.block(everything, rows)[1].T, len(unique), links[:, 0], links[:, 1])
    query = torch.tensor([place[text] for text in strings]).numpy()
    of_caption = Ranks(by_text.better[query], by_text.tied[query], by_text.tied_positives[query])
    return {"i2t": recall(by_image), "t2i": recall(of_caption)}


def _best_of(score: Callable[[slice], Tensor], count: int, query: Tensor, positive: Tensor) -> Ranks:
    """Returns the ranks of `count` queries that may share positives: `query[l]` and `positive[l]` are one right pair each."""
    blocks = []
    for start in range(0, count, 256):
        stop = min(start + 256, count)
        scores = score(slice(start, stop))
        inside = (query >= start) & (query < stop)
        right = torch.zeros(scores.shape, dtype=torch.bool)
        right[query[inside] - start, positive[inside]] = True
        blocks.append(placed(scores, right))
    return Ranks(*(np.concatenate([getattr(block, name) for block in blocks]) for name in Ranks.__annotations__))
