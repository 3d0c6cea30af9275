"""The batches of a run: a pure function of epoch and step, so that a resumed run receives the same batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crosscue.backbones import frozen
from crosscue.data.augmentation import augment
from crosscue.data.batches import Batches
from crosscue.data.neighbours import nearest
from crosscue.methods.capabilities import WantsNeighbours
from crosscue.methods.contract import Batch, Method
from crosscue.methods.images import check_images
from crosscue.retrieval.encoding import untouched_embeddings

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images, WholeFeatures
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs
    from crosscue.training.config import TrainingConfig


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Returns the seed of one step of a run."""
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1)[0])


class Feed:
    """Batches of images, captions and the other data of the pairs."""

    def __init__(
        self,
        pairs: Pairs,
        images: Images,
        batches: Batches,
        *,
        untouched: WholeFeatures | None = None,
        augmentation: Any = "none",
        device: Any = "cpu",
    ) -> None:
        self.pairs, self.images, self.batches, self.untouched = pairs, images, batches, untouched
        self.augmentation, self.device = augmentation, device

    @property
    def length(self) -> int:
        """Number of batches in an epoch."""
        return len(self.batches)

    def batch(self, epoch: int, step: int) -> Batch:
        """Returns the batch of an epoch with index `step`."""
        chosen = self.batches.step(epoch, step)
        members = [self.pairs[index] for index, _ in chosen]
        places = [index for index, _ in chosen]
        images = self.images[places]
        if isinstance(images, Tensor):
            generator = torch.Generator().manual_seed(step_seed(self.batches.seed, epoch, step))
            images = augment(images, self.augmentation, generator)
        return Batch(
            images=images.to(self.device),
            captions=[pair.captions[caption] for pair, (_, caption) in zip(members, chosen, strict=True)],
            image_ids=[pair.image_id for pair in members],
            categories=[pair.category for pair in members],
            negatives=[pair.negatives for pair in members],
            synthetic=[pair.synthetic for pair in members],
            untouched=self.untouched[places] if self.untouched is not None else None,
        )


def training_feed(method: Method[Any], train: Pairs, training: TrainingConfig, images: Images | None = None) -> Feed:
    """Returns the batches of a run. Without augmentation the frozen part of the image tower is computed once.

    Args:
        method: the method to train.
        train: the training pairs.
        training: batch size, seed and augmentation.
        images: the images of `train` where they are read already; they are taken as they are.
    """
    if images is not None:
        batches = Batches(train, training.batch_size, training.seed)
        return Feed(train, images, batches, device=method.backbone.device)
    tower, lasting = method.backbone, training.augmentation == "none"
    check_images(train, method, training.augmentation)
    pixels = frozen.pixel_store(train.images, tower, source=train.origin)
    images = frozen.cached_images(pixels, tower, method.image_use.frozen_layers) if lasting else pixels
    companions = method.companions if isinstance(method, WantsNeighbours) else 0
    near = neighbours(train, images, tower) if companions else None
    return Feed(
        train,
        images,
        Batches(train, training.batch_size, training.seed, companions, near),
        untouched=frozen.untouched_features(images, tower, pixels) if lasting and method.image_use.untouched else None,
        augmentation=training.augmentation,
        device=tower.device,
    )


def neighbours(pairs: Pairs, images: Images, backbone: Backbone) -> np.ndarray:
    """Returns (pairs, K): the pairs that the untouched backbone confuses most with each."""
    gallery, captions = untouched_embeddings(backbone, pairs.captions, images, len(pairs))
    return nearest(gallery, captions, torch.tensor(pairs.caption_owner))
