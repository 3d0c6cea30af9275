"""Recall with every image right that shares the string of a caption."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crosscue.evaluation.ranks import Counter, Places, Ranks, RightPairs
from crosscue.evaluation.recall import Recall, recall
from crosscue.retrieval.readers import read_scores

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.retrieval.scores import Scores


class Groups:
    """Reads ranks with every pair right whose caption string one of the image's own captions equals; see `Reader`.

    A string stands in the gallery of captions once, where it comes first. Only a string of several images has other ranks
    among the images than its captions have.
    """

    def __init__(self, pairs: Pairs) -> None:
        owners: dict[str, list[int]] = defaultdict(list)
        first: dict[str, int] = {}
        for caption, (image, text) in enumerate(zip(pairs.caption_owner, pairs.captions, strict=True)):
            first.setdefault(text, caption)
            if image not in owners[text]:
                owners[text].append(image)
        links = torch.tensor([(image, first[text]) for text, own in owners.items() for image in own])  # (L, 2)
        self.image, self.caption = links[:, 0], links[:, 1]
        self.first = torch.tensor(
            [first[text] for text in pairs.captions]
        )  # (M,) where the string of a caption comes first
        self.again = (self.first != torch.arange(len(self.first))).nonzero()[:, 0]  # captions that the gallery lacks
        self.shared = torch.tensor([first[text] for text, own in owners.items() if len(own) > 1], dtype=torch.int64)

    def start(self, scores: Scores) -> None:
        """See `Reader.start`."""
        self.right = RightPairs(scores, self.image, self.caption)
        self.by_image = Places(self.right.i2t, self.right.image, scores.image_count)
        own = torch.isin(self.right.caption, self.shared)
        place = torch.searchsorted(self.shared, self.right.caption[own])
        self.by_text = Places(self.right.t2i[own], place, len(self.shared))
        self.counter = Counter()

    def read(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """See `Reader.read`."""
        self.right.write(i2t, t2i, images, captions)
        queries = _inside(self.shared, captions)
        chosen = self.shared[queries] - captions.start
        if len(chosen):
            self.by_text.count(self.counter, t2i[:, chosen], queries, axis=0)
        absent = self.again[_inside(self.again, captions)] - captions.start
        self.by_image.count(self.counter, i2t, images, axis=1, without=absent)

    def recalls(self, t2i: Ranks) -> dict[str, Recall]:
        """Returns the recall of both directions; `t2i` has the ranks of every caption with its own image right."""
        shared, found = self.shared.numpy(), self.by_text.ranks()
        better, tied, positives = t2i.better.copy(), t2i.tied.copy(), t2i.tied_positives.copy()
        better[shared], tied[shared], positives[shared] = found.better, found.tied, found.tied_positives
        first = self.first.numpy()
        of_captions = Ranks(better[first], tied[first], positives[first])
        return {"i2t": recall(self.by_image.ranks()), "t2i": recall(of_captions)}


def group_aware(pairs: Pairs, scores: Scores, t2i: Ranks) -> dict[str, Recall]:
    """Returns the recall of `Groups`, in one pass over the scores."""
    groups = Groups(pairs)
    read_scores(scores, [groups])
    return groups.recalls(t2i)


def _inside(numbers: Tensor, captions: slice) -> slice:
    """Returns the places of ascending numbers of captions that lie in a slice."""
    return slice(*torch.searchsorted(numbers, torch.tensor([captions.start, captions.stop])).tolist())
