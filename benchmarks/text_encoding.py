"""Encoding the captions of FDRD: crosscue against `transformers` with its default padding.

    python benchmarks/text_encoding.py ../shared/data/fdrd_caltech101

The same CLIP ViT-B/32 text tower (random weights: values do not matter to speed), the same number format, the same batch
size, one after another in one process. The embeddings are compared, so that the speed is that of the same result.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from clip_shapes import write_checkpoint
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from crosscue import load_backbone, read_pairs
from crosscue.backbones.embedding import embed_texts

BATCH = 128


def main(source: str, count: int = 2_000) -> None:
    texts = [caption for pair in read_pairs(source) for caption in pair.captions][:count]
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_checkpoint(Path(scratch))
        for precision in ("fp32", "bf16"):
            compare(folder, precision, texts)


def compare(folder: Path, precision: str, texts: list[str]) -> None:
    backbone = load_backbone(str(folder), precision=precision)
    stock = CLIPTextModelWithProjection.from_pretrained(folder, dtype=backbone.precision.dtype).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)

    def ours() -> Tensor:
        return embed_texts(texts, lambda part: backbone.encode_text(backbone.tokenize(part)).pooled)

    def theirs(padding: str | bool) -> Tensor:
        parts = []
        for start in range(0, len(texts), BATCH):
            part = texts[start : start + BATCH]
            tokens = tokenizer(part, padding=padding, truncation=True, max_length=77, return_tensors="pt")
            with torch.no_grad():
                parts.append(stock(**tokens).text_embeds.float())
        return torch.cat(parts)

    with torch.no_grad():
        backbone.encode_text(backbone.tokenize(texts[:BATCH]))
    rows = {
        "crosscue": seconds(ours),
        "transformers, padded to 77": seconds(lambda: theirs("max_length")),
        "transformers, padded to the longest of the batch": seconds(lambda: theirs(True)),
    }
    own = rows["crosscue"]
    for name, (taken, embedded) in rows.items():
        cosine = torch.cosine_similarity(embedded, own[1]).min()
        print(
            f"{precision}  {name:50} {len(texts) / taken:6.0f} captions/s   "
            f"crosscue is {taken / own[0]:.2f}x   smallest cosine {cosine:.6f}"
        )


def seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    embedded = work()
    return time.perf_counter() - start, embedded


if __name__ == "__main__":
    main(*sys.argv[1:2])
