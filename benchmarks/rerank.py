"""Re-ranking with ACT against encoding every (query, candidate) picture anew, on CLIP ViT-B/32 shapes.

    python benchmarks/rerank.py ../shared/data/flickr8k --queries 50

Random weights, random pictures, real captions with knowledge from spaCy; 20 candidates a query, both directions, one caption at
a time. The plain way encodes the candidates of a query as one batch from pixels, with the query's knowledge. Ours starts from
cached states of the frozen layers, batches candidates of all queries together and reads each caption once. The scores are compared,
so that the speed is that of the same scores. What a whole test set would take follows from the time of one reading.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from clip_shapes import write_checkpoint
from torch import Tensor

from crosscue import load_backbone, read_pairs
from crosscue.data.sources import Reading
from crosscue.methods.action.model import Action
from crosscue.methods.registry import build
from crosscue.retrieval.conditioning import ConditionedPictures

TOP = 20
TEST_SETS = {"Flickr8k": (1_000, 5_000), "Flickr30k": (1_000, 5_000), "COCO 5K": (5_000, 25_000)}
"""Pictures and captions."""


def plain_scores(method: Action, pixels: Tensor, texts: list[str], captions: Tensor, pairs: Tensor) -> Tensor:
    """The (Q, k, 2) pairs of one query after the other, nothing kept from one to the next."""
    scores = []
    for query in pairs:
        method.caption_prompts.forget()
        pictures = method.image_given_texts(pixels[query[:, 0]], [[texts[caption]] for caption in query[:, 1].tolist()])
        scores.append((pictures * captions[query[:, 1]]).sum(-1))
    return torch.stack(scores)


def compare(method: Action, pixels: Tensor, texts: list[str], queries: int) -> None:
    layer, at_once = method.config.aim_layer, 64
    candidates = torch.stack([torch.randperm(len(texts))[:TOP] for _ in range(2 * queries)])  # (2 Q, k)
    rows = torch.arange(queries)[:, None].expand(-1, TOP)
    ways = {
        "image to text": (rows, candidates[:queries], True),
        "text to image": (candidates[queries:] % len(pixels), rows, False),
    }
    with torch.no_grad():
        captions = method.encode_text(texts)
        images = method.backbone.image_state(pixels, layer) if layer else pixels

        class Gallery:
            def __getitem__(self, numbers: list[int]) -> object:
                return images[torch.tensor(numbers)]

        seconds, readings, worst = {"crosscue": 0.0, "plain": 0.0}, 0, 0.0
        for image, caption, image_first in ways.values():
            method.caption_prompts.forget()
            scorer = ConditionedPictures(method, Gallery(), captions, texts, False, at_once)
            start = time.perf_counter()
            ours = scorer(image, caption, torch.zeros(image.shape), image_first=image_first)
            seconds["crosscue"] += time.perf_counter() - start
            start = time.perf_counter()
            theirs = plain_scores(method, pixels, texts, captions, torch.stack([image, caption], dim=-1))
            seconds["plain"] += time.perf_counter() - start
            readings += image.numel()
            worst = max(worst, float((ours - theirs).abs().max()))
    one = {name: total / readings for name, total in seconds.items()}
    print(
        f"aim_layer {layer}: {readings:,} readings, crosscue {1 / one['crosscue']:.1f}/s, plain {1 / one['plain']:.1f}/s: "
        f"{100 * one['crosscue'] / one['plain']:.0f} % of the plain time; largest difference of a score {worst:.1e}"
    )
    assert worst < 1e-4, "the two ways score differently"
    for name, (count, total) in TEST_SETS.items():
        pooled = count + total * TOP
        print(
            f"    {name}: {pooled:,} readings pooled, {one['crosscue'] * pooled / 3600:.1f} h here "
            f"(plain, every pair: {one['plain'] * (count + total) * TOP / 3600:.1f} h)"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--precision", default="fp32")
    given = parser.parse_args()
    torch.manual_seed(0)
    texts = list(dict.fromkeys(read_pairs(given.source, reading=Reading(missing="skip")).captions))[
        : max(4 * given.queries, TOP)
    ]
    pixels = torch.randint(0, 256, (max(2 * given.queries, TOP), 3, 224, 224), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        backbone = load_backbone(str(write_checkpoint(Path(scratch))), precision=given.precision, device="cpu")
        for layer in (10, 0):
            method = build(
                "action", backbone, {"knowledge": "spacy", "aim_layer": layer, "deep_start": max(layer, 6)}
            ).eval()
            with torch.no_grad():
                method.interaction.gate.fill_(0.5)
            compare(method, pixels, texts, given.queries)


if __name__ == "__main__":
    main()
