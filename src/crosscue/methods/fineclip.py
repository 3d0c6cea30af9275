"""FineCLIP (NeurIPS 2024) carried to retrieval: regions of an image are compared with words and with their own crops.

    image   -> I           global:       InfoNCE(I, caption)
            -> dense map   region:       InfoNCE(region feature, "a photo of a <class>")
               |  boxes    distillation: 1 - cos(region feature, feature of the crop)
               v
            region features

The dense map leaves out the attention of the last layer, so that a patch stands for its own place. The crop goes through the same,
learning model. FineCLIP has boxes with captions; here are none. So a box in the middle stands for the object and has the class for
its text. Boxes elsewhere have no text and only distil.

Equations:

    region loss       -> methods.fineclip.FineClip.region_loss
    distillation loss -> methods.fineclip.FineClip.distil_loss
    RoIAlign          -> methods.parts.regions.roi_align
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import encode_bucketed, packs
from crosscue.backbones.protocol import Backbone
from crosscue.data.wording import article
from crosscue.errors import MethodError
from crosscue.losses.contrastive import pair_losses
from crosscue.methods.contract import Batch, ImageUse
from crosscue.methods.parts.carrier import Carrier, CarrierConfig, class_names
from crosscue.methods.parts.regions import crops, region_boxes, roi_align


@dataclass(frozen=True)
class FineClipConfig(CarrierConfig):
    """Options of FineCLIP: the carrier and the regions."""

    region_weight: float = 1.0
    """Weight of the loss between regions and their texts. 0 needs no categories."""
    distil_weight: float = 1.0
    """Weight of the loss between regions and their crops."""
    centre_side: float = 0.8
    """Side of the box in the middle, as a share of the image's side."""
    boxes: int = 4
    """Number of further boxes an image, without text."""
    smallest_side: float = 0.3
    """Smallest side of a further box."""
    largest_side: float = 0.8
    """Largest side of a further box."""
    box_seed: int = 1
    """Seed of the boxes. Together with the id of an image it determines their places."""
    teacher_grad: bool = False
    """True: gradients flow through the crops' features too, as in the authors' repository."""
    pad_bug: bool = False
    """True: the region loss has a row for every box, zero where there is no text, as in the authors' repository."""

    def __post_init__(self) -> None:
        if not 0 < self.centre_side <= 1 or not 0 < self.smallest_side <= self.largest_side <= 1 or self.boxes < 0:
            raise MethodError(
                f"impossible boxes: centre_side {self.centre_side}, smallest_side {self.smallest_side}, largest_side "
                f"{self.largest_side}, boxes {self.boxes}. Sides are shares between 0 and 1, the smallest first."
            )


class FineClip(Carrier[FineClipConfig]):
    """Global, region and self-distillation losses; ranked by the global feature."""

    name = "fineclip"
    summary = "Regions compared with the class and with their own crops. Slow to train; needs pixels and categories."
    paper = "FineCLIP, NeurIPS 2024"
    config_class = FineClipConfig

    def __init__(self, backbone: Backbone, config: FineClipConfig) -> None:
        if not backbone.has_dense_map:
            raise MethodError(
                f"method 'fineclip' needs a dense map, and the image tower of '{backbone.source}' (family {backbone.family}) has "
                "none. Use a backbone of family clip or dual, or another method."
            )
        super().__init__(backbone, config)
        self.image_use = ImageUse()  # regions are cut out of pixels

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The three losses of FineCLIP, already times their weights."""
        if not isinstance(batch.images, Tensor):
            raise MethodError(
                "method 'fineclip' cuts regions out of pixels and cannot be trained on cached image states."
            )
        config, scale = self.config, self.backbone.logit_scale
        features = self.read_images(batch.images)
        images = normalize(self.image_head(features.pooled).float(), dim=-1)  # (B, D)
        named = self.region_texts(batch) if config.region_weight else []
        texts = encode_bucketed(
            [*batch.captions, *named], self.encode_text, whole=packs(self.backbone)
        )  # (B or 2 B, D)
        logits = scale * images @ texts[: len(batch)].T
        same = self.same(batch.captions, batch)
        losses = {"global_loss": pair_losses(logits, logits, directions=config.directions, not_negative=same).mean()}
        boxes = self.boxes(batch)  # (B, K, 4)
        regions = normalize(roi_align(self.dense_map(features.dense), boxes), dim=-1)  # (B, K, D)
        if config.region_weight:
            losses["region_loss"] = config.region_weight * self.region_loss(regions, texts[len(batch) :], named, batch)
        if config.distil_weight:
            losses["distil_loss"] = config.distil_weight * self.distil_loss(regions, batch.images, boxes)
        return losses

    def region_texts(self, batch: Batch) -> list[str]:
        """Returns what stands for the object of every image; raises `MethodError` where an image has no category."""
        return [f"a photo of {article(name)} {name}" for name in class_names(batch, self.name)]

    def boxes(self, batch: Batch) -> Tensor:
        """(B, 1 + boxes, 4): the box in the middle first."""
        config = self.config
        return region_boxes(
            batch.image_ids,
            centre=config.centre_side,
            count=config.boxes,
            smallest=config.smallest_side,
            largest=config.largest_side,
            seed=config.box_seed,
        ).to(self.backbone.device)

    def dense_map(self, dense: Tensor) -> Tensor:
        """(B, P, D) -> (B, H, W, D) through the head."""
        side = round(dense.shape[1] ** 0.5)
        return self.image_head(dense).float().unflatten(1, (side, side))

    def region_loss(self, regions: Tensor, texts: Tensor, named: list[str], batch: Batch) -> Tensor:
        """Returns the region loss: InfoNCE between the middle boxes of (B, K, D) and their texts (B, D); texts of one class are no negatives."""
        own, same = regions[:, 0], self.same(named, batch)
        if self.config.pad_bug:
            empty = own.new_zeros(regions.shape[0] * (regions.shape[1] - 1), own.shape[1])
            own, texts = torch.cat([own, empty]), torch.cat([texts, empty])  # (B K, D)
            same = None
        logits = self.backbone.logit_scale * own @ texts.T
        return pair_losses(logits, logits, directions=self.config.directions, not_negative=same).mean()

    def distil_loss(self, regions: Tensor, pixels: Tensor, boxes: Tensor) -> Tensor:
        """Returns the distillation loss: 1 - the mean cosine of (B, K, D) region features and the features of their crops."""
        with torch.set_grad_enabled(self.config.teacher_grad and torch.is_grad_enabled()):
            crop_features = self.encode_image(crops(pixels, boxes))  # (B K, D)
        return 1 - (regions.flatten(0, 1) * crop_features).sum(-1).mean()
