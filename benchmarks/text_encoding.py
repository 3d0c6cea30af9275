"""Encoding of captions: crosscue against `transformers` with its default padding.

    python benchmarks/text_encoding.py ../shared/data/fdrd_caltech101

All ways have the same CLIP ViT-B/32 text tower with random weights, the same dtype and the same batch size. The embeddings are
compared, so that the speed is that of the same result.
"""

from __future__ import annotations

import torch
from ceiling import print_shares
from harness import alternate, arguments, backbones, print_table
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from crosscue import read_pairs
from crosscue.backbones.embedding import embed_texts, shares_beginnings

AT_ONCE = 128


def main() -> None:
    given = arguments(__doc__, count=2_000, precision="")
    texts = [caption for pair in read_pairs(given.source) for caption in pair.captions][: given.count]
    for folder, backbone in backbones(given.precision):
        stock = CLIPTextModelWithProjection.from_pretrained(folder, dtype=backbone.precision.dtype).eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder)

        def ours(_: int, backbone=backbone) -> Tensor:
            return embed_texts(
                texts,
                lambda part: backbone.encode_text(backbone.tokenize(part)).pooled,
                alphabetical=shares_beginnings(backbone),
            )

        @torch.no_grad()
        def theirs(padding: str | bool, stock=stock, tokenizer=tokenizer) -> Tensor:
            parts = []
            for start in range(0, len(texts), AT_ONCE):
                part = texts[start : start + AT_ONCE]
                tokens = tokenizer(part, padding=padding, truncation=True, max_length=77, return_tensors="pt")
                parts.append(stock(**tokens).text_embeds.float())
            return torch.cat(parts)

        with torch.no_grad():
            backbone.encode_text(backbone.tokenize(texts[:AT_ONCE]))  # warm-up
        ways = {
            "crosscue": ours,
            "transformers, padded to 77": lambda _, theirs=theirs: theirs("max_length"),
            "transformers, padded to the longest of the batch": lambda _, theirs=theirs: theirs(True),
        }
        timings = alternate(ways, 1, warm_up=0)
        print_table(backbone.precision.name, timings, len(texts), "captions")
        print_shares(backbone.precision.name, backbone.precision.name, ways, timings, 1)
        own, *others = (timing.result for timing in timings.values())
        cosine = min(float(torch.cosine_similarity(own, other).min()) for other in others)
        print(f"{backbone.precision.name}  smallest cosine {cosine:.6f}")


if __name__ == "__main__":
    main()
