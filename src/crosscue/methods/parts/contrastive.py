"""InfoNCE between images and captions, which most methods train; they differ in their encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from crosscue.backbones.embedding import encode_bucketed, packs
from crosscue.errors import MethodError
from crosscue.losses.contrastive import Directions, contrastive, same_meaning
from crosscue.methods.contract import Batch, Method


@dataclass(frozen=True)
class ContrastiveConfig:
    """Options of InfoNCE."""

    directions: Directions = "both"
    """Directions of the cross-entropies: `both`, `i2t` or `t2i`. Methods made for classification train i2t
    alone."""
    mask_duplicates: bool = True
    """True: equal captions of one batch are no negatives of each other. The papers do not do this."""


ContrastiveOptions = TypeVar("ContrastiveOptions", bound=ContrastiveConfig)


class ContrastiveMethod(Method[ContrastiveOptions]):
    """A method whose loss is InfoNCE between its own two encoders."""

    @property
    def reads_whole_batches(self) -> bool:
        """True if all captions of a step are cheaper in one pass than in buckets by length."""
        return packs(self.backbone)

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
        texts = encode_bucketed(batch.captions, self.encode_text, whole=self.reads_whole_batches)  # (B, D)
        same = same_meaning(batch.captions, batch.image_ids, images.device) if self.config.mask_duplicates else None
        scale = self.backbone.logit_scale
        loss = contrastive(images, texts, scale, directions=self.config.directions, not_negative=same)
        return {"contrastive_loss": loss}
