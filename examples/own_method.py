"""Train a method of your own: one trainable offset in each modality. It needs the contract alone.

python examples/own_method.py pairs.jsonl runs/offsets
"""

import argparse
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

import crosscue
from crosscue.methods.registry import METHODS


@dataclass(frozen=True)
class OffsetsConfig:
    """Options of the method: none."""


class Offsets(crosscue.Method[OffsetsConfig]):
    name, summary, config_class = "offsets", "One offset in each modality.", OffsetsConfig

    def __init__(self, backbone, config):
        super().__init__(backbone, config)
        self.image, self.text = (torch.nn.Parameter(torch.zeros(backbone.embed_dim)) for _ in range(2))  # (D,)
        self.to(backbone.device)

    def image_features(self, images):
        return self.backbone.encode_image(images).pooled + self.image  # (B, D)

    def text_features(self, texts, mode="plain"):
        return self.backbone.encode_text(self.backbone.tokenize(texts)).pooled + self.text  # (B, D)

    def losses(self, batch):
        scores = self.backbone.logit_scale * self.encode_image(batch.images) @ self.encode_text(batch.captions).T
        return {"contrastive_loss": cross_entropy(scores, torch.arange(len(batch), device=scores.device))}


METHODS["offsets"] = f"{__name__}:Offsets"

parser = argparse.ArgumentParser()
parser.add_argument("source", help="pairs of images and captions")
parser.add_argument("out", help="the run folder to write")
parser.add_argument("--backbone", default="starter")
given = parser.parse_args()
run = crosscue.adapt(given.source, "offsets", given.backbone, out=given.out)
print(run, f"{sum(each.numel() for each in run.method.learned_state().values())} parameters")
