"""Everything that a report counts in the scores of a result, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from crosscue.evaluation.fold_ranks import FoldRanks, usual_count
from crosscue.evaluation.group_recall import Groups
from crosscue.evaluation.ranks import Ranking, Ranks
from crosscue.retrieval.confidence import Confidences
from crosscue.retrieval.firsts import Firsts
from crosscue.retrieval.readers import Reader, read_scores

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.retrieval.confidence import Divisors
    from crosscue.retrieval.scores import Scores


class Survey:
    """The readers of a report. A result without them takes a pass for each part that is used."""

    def __init__(self, pairs: Pairs, divisors: Divisors | None = None) -> None:
        """Takes the evaluated pairs, and the temperatures of calibration; None leaves it out."""
        owner = torch.tensor(pairs.caption_owner)
        self.ranking = Ranking(owner, torch.arange(len(owner)))
        self.firsts, self.groups = Firsts(), Groups(pairs)
        self.confidences = None if divisors is None else Confidences(*divisors)
        count = usual_count(len(pairs))
        self.folds = None if count is None else FoldRanks(owner, count)

    def read(self, scores: Scores) -> tuple[Ranks, Ranks]:
        """Reads all scores once; returns the ranks of both directions."""
        plain: list[Reader] = [self.firsts, *filter(None, [self.confidences])]
        exact: list[Reader] = [
            self.ranking,
            *filter(None, [self.folds]),
            self.groups,
        ]  # write into the tiles, so they are last
        read_scores(scores, [*plain, *exact])
        return self.ranking.ranks()
