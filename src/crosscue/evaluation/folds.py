"""Recall in equal parts of a gallery: MSCOCO 1K is the mean over five folds of its 5,000 test images."""

from __future__ import annotations

import torch

from crosscue.errors import MethodError
from crosscue.evaluation.fold_ranks import FoldRanks, Folds, Part, usual_count
from crosscue.evaluation.result import Retrieval
from crosscue.retrieval.readers import read_scores


def usual_folds(result: Retrieval) -> int | None:
    """Returns the number of folds that papers report for the gallery of a result; None for others and after re-ranking."""
    return usual_count(result.protocol["gallery"]) if result.again is None else None


def fold_recalls(result: Retrieval, count: int) -> Folds:
    """Returns the mean recall over `count` folds; see `FoldRanks`.

    Raises:
        MethodError: the result was re-ranked in the whole gallery, or has fewer images than folds.
    """
    if result.again is not None:
        raise MethodError(
            "--folds needs scores of all pairs, and this result is re-ranked in the whole gallery. Leave --folds or --rerank out."
        )
    images = result.protocol["gallery"]
    if not 2 <= count <= images:
        raise MethodError(f"--folds {count}: give from 2 to {images:,} folds, the images of the gallery.")
    if result.survey is not None and result.survey.folds is not None and result.survey.folds.count == count:
        return result.survey.folds.recalls()
    assert result.scores is not None
    folds = FoldRanks(torch.from_numpy(result.owner), count)
    for images_of, captions_of, ranking in folds.folds:
        read_scores(Part(result.scores, images_of, captions_of), [ranking])
    return folds.recalls()
