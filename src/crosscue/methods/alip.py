"""ALIP (arXiv 2308.08428) carried to retrieval: pairs weighted by their agreement with a synthetic caption.

An image i has its caption t and a synthetic caption c. A pair whose two captions disagree weighs less (w_s). So does a pair
(w_t, w_c) whose image and caption are less alike than pairs are on average:

    w_s = min(1, exp(gamma (S_tc - H_tc)))      w_t, w_c from S_ti - H_ti and S_ci - H_ci in the same way
    L   = mean w_s w_t CE(i, t) + mean w_s w_c CE(i, c)

H are running means. ALIP's synthetic captions come from a captioning model. Where there are none, c is made of the caption: with its class left
out, which keeps its attributes, or the class alone.

Equations:

    w_s, w_t, w_c -> methods.alip.Alip.weights
    L of ALIP     -> methods.alip.Alip.losses
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosscue.backbones.embedding import encode_bucketed, packs
from crosscue.backbones.protocol import Backbone
from crosscue.data.wording import article, key, mentions, replaced
from crosscue.errors import MethodError
from crosscue.losses.contrastive import pair_losses
from crosscue.methods.contract import Batch
from crosscue.methods.parts.carrier import Carrier, CarrierConfig, class_names


@dataclass(frozen=True)
class AlipConfig(CarrierConfig):
    """Options of ALIP: the carrier, the synthetic caption and the weights of pairs."""

    synthetic: Literal["attributes", "class", "given"] = "attributes"
    """Synthetic caption. `attributes`: the caption with `meta_category` for the name of its class. `class`: "a
    photo of a <class>". `given`: the source's column `synthetic` (or `drafts`, as written by `crosscue describe
    captions`)."""
    meta_category: str = "object"
    """Noun that stands for every class in the synthetic caption, such as animal, flower, vehicle or dish."""
    gamma: float = 2.0
    """Rate at which a weight falls below the mean (gamma)."""
    alip_gate: Literal["code", "paper"] = "paper"
    """Condition of a pair's weight. `paper`: it falls if the pair's own similarity is below the mean. `code`: it
    falls if the agreement of the two captions is, as in the authors' repository; it can then exceed 1."""
    ema_init: Literal["first", "one"] = "first"
    """Start of the running means. `first`: the first batch. `one`: 1, as in the authors' repository, far above any
    cosine; few-shot runs then end before the weights mean anything."""
    momentum: float = 0.99
    """Share of the running means that a batch leaves as it was."""


class Alip(Carrier[AlipConfig]):
    """Pairs weighted by the agreement of caption, image and a synthetic caption."""

    name = "alip"
    summary = "Pairs weighted by their agreement with a synthetic caption: for noisy captions. Needs categories, or such captions."
    paper = "arXiv 2308.08428"
    config_class = AlipConfig

    def __init__(self, backbone: Backbone, config: AlipConfig) -> None:
        super().__init__(backbone, config)
        self.means: Tensor
        self.seen: Tensor
        self.register_buffer("means", torch.ones(3, device=backbone.device))  # H_tc, H_ti, H_ci
        self.register_buffer("seen", torch.zeros((), device=backbone.device))  # training batches

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the two terms of L of ALIP, one with each caption, and the mean weights for the log."""
        synthetic = self.synthetic_captions(batch)
        images = self.encode_image(batch.images)  # i (B, D)
        encoded = encode_bucketed([*batch.captions, *synthetic], self.encode_text, whole=packs(self.backbone))
        texts, others = encoded.chunk(2)  # t and c, (B, D) each
        similar = torch.stack([(a * b).sum(-1) for a, b in ((texts, others), (texts, images), (others, images))])
        sample, of_text, of_other = self.weights(similar.detach())  # (B,) each
        text_loss = self.pair_losses(images, batch.captions, texts, batch)
        other_loss = self.pair_losses(images, synthetic, others, batch)
        return {
            "text_loss": (sample * of_text * text_loss).mean(),
            "synthetic_loss": (sample * of_other * other_loss).mean(),
            "sample_weight": sample.mean(),
            "text_weight": of_text.mean(),
            "synthetic_weight": of_other.mean(),
        }

    def pair_losses(self, images: Tensor, captions: Sequence[str], texts: Tensor, batch: Batch) -> Tensor:
        """(B, D) images, B captions and their (B, D) embeddings -> (B,) InfoNCE of every pair."""
        logits = self.backbone.logit_scale * images @ texts.T  # (B, B)
        same = self.same(captions, batch)
        return pair_losses(logits, logits, directions=self.config.directions, not_negative=same)

    @torch.no_grad()
    def weights(self, similar: Tensor) -> Tensor:
        """(3, B) S_tc, S_ti, S_ci -> (3, B) w_s, w_t, w_c; in training the running means take the batch in first."""
        if self.training:
            batch_means = similar.mean(1)
            if self.config.ema_init == "first" and not self.seen:
                self.means.copy_(batch_means)
            else:
                self.means.lerp_(batch_means, 1 - self.config.momentum)
            self.seen += 1
        raw = (self.config.gamma * (similar - self.means[:, None])).exp()  # (3, B)
        gate = raw < 1 if self.config.alip_gate == "paper" else (raw[0] < 1).expand_as(raw)
        return torch.where(gate, raw, torch.ones_like(raw))

    def synthetic_captions(self, batch: Batch) -> list[str]:
        """Returns c for every caption of a batch.

        Raises:
            MethodError: an image has no category, or with `given` no synthetic caption.
        """
        if self.config.synthetic == "given":
            return self._given(batch)
        names = class_names(batch, self.name)
        if self.config.synthetic == "class":
            return [f"a photo of {article(name)} {name}" for name in names]
        return [
            without_class(caption, name, self.config.meta_category)
            for caption, name in zip(batch.captions, names, strict=True)
        ]

    def _given(self, batch: Batch) -> list[str]:
        found = []
        for image_id, text in zip(batch.image_ids, batch.synthetic or [None] * len(batch), strict=True):
            if text is None:
                raise MethodError(
                    f"method 'alip' with synthetic=given needs what a model wrote about every image, and '{image_id}' has nothing. "
                    "Add a column 'synthetic' to the source, or use synthetic=attributes with categories."
                )
            found.append(text)
        return found

    def extra_state(self) -> dict[str, Tensor]:
        """Returns the running means."""
        return {"means": self.means, "seen": self.seen}


def without_class(caption: str, name: str, meta_category: str) -> str:
    """Returns a caption with `meta_category` wherever it names its class; unchanged where it does not."""
    return replaced(caption, mentions(caption, [key(name)]), meta_category)
