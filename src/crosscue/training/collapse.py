"""Telling a model that maps everything to one point from one that learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.errors import TrainingError

if TYPE_CHECKING:
    from crosscue.methods.contract import Batch, Method

COLLAPSED = 0.02
"""A modality has collapsed when its spread is below this share of what it was before training."""


def spread(embeddings: Tensor) -> float:
    """(B, D) unit vectors -> mean cosine distance to their mean direction: 0 when all are equal."""
    return float(1 - embeddings.mean(0).norm() ** 2)


class CollapseDetector:
    """Compares the spread of one fixed batch's embeddings with the spread before training."""

    def __init__(self, method: Method[Any], batch: Batch) -> None:
        self.batch = batch
        self.start = self._spreads(method)

    def _spreads(self, method: Method[Any]) -> dict[str, float]:
        with torch.no_grad():
            return {
                "image": spread(method.encode_image(self.batch.images)),
                "text": spread(method.encode_text(self.batch.captions)),
            }

    def check(self, method: Method[Any], step: int) -> dict[str, float]:
        """Returns the spreads of both modalities, for the log.

        Raises:
            TrainingError: the embeddings of one modality have become nearly equal.
        """
        now = self._spreads(method)
        for modality, value in now.items():
            if not value > COLLAPSED * self.start[modality]:
                raise TrainingError(
                    f"step {step}: the {modality} embeddings have collapsed: different inputs are {100 * (1 - value):.1f} % "
                    f"alike, {100 * (1 - self.start[modality]):.1f} % before training. Lower training.lr, use fewer epochs, "
                    "or give more varied pairs. The last good checkpoint is kept."
                )
        return {f"{modality}_spread": value for modality, value in now.items()}
