"""Re-ranking with `action` on CLIP ViT-B/32 shapes, against encoding every image anew for each query.

    python benchmarks/rerank.py ../shared/data/fdrd_caltech101

Random weights, random images, real captions with knowledge from spaCy; 20 candidates a query, both directions, one caption at
a time. The plain way encodes the candidates of a query as one batch from pixels, with the query's knowledge. Ours starts from
cached states of the frozen layers, batches candidates of all queries together and reads each caption once. The scores are
compared, so that the speed is that of the same scores.
"""

from __future__ import annotations

import torch
from harness import alternate, arguments, backbones, print_table
from torch import Tensor

from crosscue import read_pairs
from crosscue.data.sources import Reading
from crosscue.methods.action.model import Action
from crosscue.methods.registry import build
from crosscue.retrieval.conditioning import ConditionedImages

TOP, AT_ONCE = 20, 64
TEST_SETS = {"Flickr8k and Flickr30k": (1_000, 5_000), "COCO 5K": (5_000, 25_000)}
"""Images and captions."""


class Gallery:
    """Cached states of images, by index."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __getitem__(self, indices: list[int]) -> Tensor:
        return self.images[torch.tensor(indices)]


@torch.no_grad()
def compare(method: Action, pixels: Tensor, texts: list[str], queries: int) -> None:
    layer = method.config.aim_layer
    candidates = torch.stack([torch.randperm(len(texts))[:TOP] for _ in range(2 * queries)])  # (2 Q, k)
    rows = torch.arange(queries)[:, None].expand(-1, TOP)
    directions = [(rows, candidates[:queries], True), (candidates[queries:] % len(pixels), rows, False)]
    captions = method.encode_text(texts)
    gallery = Gallery(method.backbone.image_state(pixels, layer) if layer else pixels)

    def ours(_: int) -> Tensor:
        scores = []
        for image, caption, image_first in directions:
            method.caption_prompts.forget()
            scorer = ConditionedImages(method, gallery, captions, texts, False, AT_ONCE)
            scores.append(scorer(image, caption, torch.zeros(image.shape), image_first=image_first))
        return torch.cat(scores)

    def plain(_: int) -> Tensor:
        scores = []
        for image, caption, _ in directions:
            for members, described in zip(image, caption, strict=True):
                method.caption_prompts.forget()
                given = [[texts[index]] for index in described.tolist()]
                scores.append((method.image_given_texts(pixels[members], given) * captions[described]).sum(-1))
        return torch.stack(scores)

    timings = alternate({"plain, every pair anew": plain, "crosscue": ours}, 1, warm_up=0)
    readings, title = 2 * queries * TOP, f"layer {layer:2}"
    print_table(title, timings, readings, "readings")
    worst = float((timings["crosscue"].result - timings["plain, every pair anew"].result).abs().max())
    print(f"{title}  largest difference of a score {worst:.1e}")
    assert worst < 1e-4, "the two ways score differently"
    for name, (count, total) in TEST_SETS.items():
        pooled = count + total * TOP
        hours = timings["crosscue"].seconds / readings * pooled / 3600
        print(f"{title}  {name}: {pooled:,} readings pooled, {hours:.1f} h")


def main() -> None:
    given = arguments(__doc__, queries=50, precision="fp32")
    torch.manual_seed(0)
    count = max(4 * given.queries, TOP)
    texts = list(dict.fromkeys(read_pairs(given.source, reading=Reading(missing="skip")).captions))[:count]
    pixels = torch.randint(0, 256, (max(2 * given.queries, TOP), 3, 224, 224), dtype=torch.uint8)
    for _, backbone in backbones(given.precision):
        for layer in (10, 0):
            options = {"knowledge": "spacy", "aim_layer": layer, "deep_start": max(layer, 6)}
            method = build("action", backbone, options).eval()
            with torch.no_grad():
                method.interaction.gate.fill_(0.5)
            compare(method, pixels, texts, given.queries)


if __name__ == "__main__":
    main()
