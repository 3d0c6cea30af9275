"""Recall with every image right that shares the string of a caption."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from crosscue.evaluation.ranks import Ranks, rank_links
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
    by_image, by_text = rank_links(scores.chosen(torch.tensor(first)), links[:, 1], links[:, 0])
    query = torch.tensor([place[text] for text in strings]).numpy()
    of_caption = Ranks(by_text.better[query], by_text.tied[query], by_text.tied_positives[query])
    return {"i2t": recall(by_image), "t2i": recall(of_caption)}
