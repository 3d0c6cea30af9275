"""Encoding of images from uint8 pixels: crosscue against `transformers` with the same weights.

    python benchmarks/image_encoding.py

CLIP ViT-B/32 with random weights, 32 images a batch, in float32 and bf16. Both ways normalise the pixels, and their embeddings are
compared.
"""

from __future__ import annotations

import argparse

import torch
from ceiling import print_shares
from harness import BATCH, alternate, backbones, print_table, random_pixels
from torch import Tensor
from transformers import CLIPVisionModelWithProjection


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--precision", default="", help="fp32 or bf16; both if it is left out")
    given, pixels = parser.parse_args(), random_pixels()
    for folder, backbone in backbones(given.precision):
        stock = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=backbone.precision.dtype).eval()
        mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (backbone.pixels.mean, backbone.pixels.std))

        def ours(_: int, backbone=backbone) -> Tensor:
            return backbone.encode_image(pixels).pooled

        def theirs(_: int, stock=stock, mean=mean, std=std, dtype=backbone.precision.dtype) -> Tensor:
            return stock(((pixels.float() / 255 - mean) / std).to(dtype)).image_embeds.float()

        ways, name = {"crosscue": ours, "transformers": theirs}, backbone.precision.name
        timings = alternate(ways, given.rounds)
        print_table(name, timings, BATCH * given.rounds, "images")
        print_shares(name, name, ways, timings, given.rounds)
        own, other = (timing.result for timing in timings.values())
        print(f"{name}  smallest cosine {float(torch.cosine_similarity(own, other).min()):.6f}")


if __name__ == "__main__":
    main()
