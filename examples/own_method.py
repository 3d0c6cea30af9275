"""Train a method of your own: one trainable offset in each modality, learned with InfoNCE.

python examples/own_method.py pairs.jsonl runs/offsets
"""

import argparse

import torch

import crosscue
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod
from crosscue.methods.registry import METHODS


class Offsets(ContrastiveMethod[ContrastiveConfig]):
    name, summary, config_class = "offsets", "One offset in each modality.", ContrastiveConfig

    def __init__(self, backbone, config):
        super().__init__(backbone, config)
        self.image, self.text = (torch.nn.Parameter(torch.zeros(backbone.embed_dim)) for _ in range(2))  # (D,)
        self.to(backbone.device)

    def image_features(self, images):
        return self.backbone.encode_image(images).pooled + self.image  # (B, D)

    def text_features(self, texts, mode="plain"):
        return self.backbone.encode_text(self.backbone.tokenize(texts)).pooled + self.text  # (B, D)


METHODS["offsets"] = f"{__name__}:Offsets"

parser = argparse.ArgumentParser()
parser.add_argument("source", help="pairs of images and captions")
parser.add_argument("out", help="the run folder to write")
parser.add_argument("--backbone", default="starter")
given = parser.parse_args()
run = crosscue.adapt(given.source, "offsets", given.backbone, out=given.out)
print(run, f"{sum(each.numel() for each in run.method.learned_state().values())} parameters")
