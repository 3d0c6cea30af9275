"""What most methods share: they differ in how they encode, and are trained with InfoNCE between images and captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from crosscue.backbones.embedding import encode_bucketed
from crosscue.errors import MethodError
from crosscue.losses.contrastive import Directions, contrastive, same_meaning
from crosscue.methods.contract import Batch, Method


@dataclass(frozen=True)
class ContrastiveConfig:
    """How the batch is contrasted."""

    directions: Directions = "both"
    """Which cross-entropies are trained: both, i2t or t2i. Methods made for classification train i2t alone."""
    mask_duplicates: bool = True
    """Leave equal captions in one batch out of each other's negatives; the papers do not."""


ContrastiveOptions = TypeVar("ContrastiveOptions", bound=ContrastiveConfig)


class ContrastiveMethod(Method[ContrastiveOptions]):
    """A method whose loss is InfoNCE between its own two encoders."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of the batch in the chosen directions (DCAR eq. 15 with all token weights 1).

        Raises:
            MethodError: there is not one image for every caption.
        """
        if len(batch.images) != len(batch) or not len(batch):
            raise MethodError(
                f"a batch of {len(batch.images)} images and {len(batch)} captions: give one image for every caption."
            )
        images = self.encode_image(batch.images)  # (B, D)
        texts = encode_bucketed(batch.captions, self.encode_text)  # (B, D)
        same = same_meaning(batch.captions, batch.image_ids, images.device) if self.config.mask_duplicates else None
        scale = self.backbone.logit_scale
        loss = contrastive(images, texts, scale, directions=self.config.directions, not_negative=same)
        return {"contrastive_loss": loss}
