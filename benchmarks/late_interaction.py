"""Ranks of 1,000 images x 5,000 captions by FILIP's token-wise scores, with the peak memory of the whole process.

    python benchmarks/late_interaction.py

49 patches a picture, 15 to 45 words a caption (30 on average), 512 dimensions, random unit vectors: 7.35 thousand million token
similarities. Some pairs are also scored by themselves, to see that tiles change rounding at most.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

IMAGES, CAPTIONS, PATCHES, WIDTH, BATCH = 1_000, 5_000, 49, 512, 50
SHORTEST, LONGEST = 15, 45
CHECKED = 4


def main() -> None:
    result = json.loads(subprocess.run([sys.executable, __file__, "child"], capture_output=True, check=True).stdout)
    print(
        f"{IMAGES:,} x {CAPTIONS:,} pairs: {result['seconds']:.1f} s on {result['threads']} thread(s), peak memory of the process "
        f"{result['megabytes']:.0f} MB ({result['before']:.0f} MB of it libraries and tokens), "
        f"largest difference from pairs by themselves {result['difference']:.1e}, R@1 {result['r1']}"
    )


def child() -> None:
    import torch
    from torch import Tensor
    from torch.nn.functional import normalize

    from crosscue.evaluation.ranks import rank_scores
    from crosscue.evaluation.recall import recall
    from crosscue.methods.capabilities import LateInteraction, Tokens
    from crosscue.methods.filip import token_wise
    from crosscue.retrieval.late_scores import LateScores, TokenStore

    class TokenWise(LateInteraction):
        """FILIP's score over tokens that are there already."""

        def image_tokens(self, images: object) -> Tokens:
            raise NotImplementedError("tokens are random here")

        text_tokens = image_tokens

        def token_scores(self, images: Tokens, texts: Tokens) -> tuple[Tensor, Tensor]:
            return token_wise(images.vectors, texts.vectors, texts.valid)

    generator = torch.Generator().manual_seed(0)

    def fill(store: TokenStore, count: int, shortest: int, longest: int) -> TokenStore:
        for _ in range(0, count, BATCH):
            lengths = torch.randint(shortest, longest + 1, (BATCH, 1), generator=generator)
            valid = torch.arange(int(lengths.max())) < lengths
            vectors = normalize(torch.randn(*valid.shape, WIDTH, generator=generator), dim=-1)
            store.add(Tokens(vectors, valid, vectors[:, 0]))
        return store

    images = fill(TokenStore("picture"), IMAGES, PATCHES, PATCHES)
    texts = fill(TokenStore("caption"), CAPTIONS, SHORTEST, LONGEST)
    scores = LateScores(TokenWise(), images, texts, torch.arange(CAPTIONS), torch.device("cpu"))
    before = peak()
    owner = torch.arange(IMAGES).repeat_interleave(CAPTIONS // IMAGES)
    start = time.perf_counter()
    r1 = [round(recall(direction).r1, 3) for direction in rank_scores(scores, owner)]
    seconds = time.perf_counter() - start
    megabytes = peak()

    cpu, difference = torch.device("cpu"), 0.0
    few, tiled = images.take(torch.arange(CHECKED), cpu), scores.block(slice(0, CHECKED), slice(0, CAPTIONS))
    for caption in range(0, CAPTIONS, 250):
        alone = texts.take(torch.tensor([caption]), cpu)  # no padding
        for way, own in zip(tiled, token_wise(few.vectors, alone.vectors, alone.valid), strict=True):
            difference = max(difference, float((way[:, caption] - own[:, 0]).abs().max()))
    result = {
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "megabytes": megabytes,
        "before": before,
        "difference": difference,
        "r1": r1,
    }
    print(json.dumps(result))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    child() if len(sys.argv) > 1 else main()
