"""Ranks of 1,000 images x 5,000 captions by FILIP's token-wise scores, with the peak memory of the process.

    python benchmarks/late_interaction.py

49 patches an image, 15 to 45 words a caption (30 on average), 512 dimensions, random unit vectors: 7.35 thousand million token
similarities. Some pairs are also scored by themselves: tiles may change rounding only.
"""

from __future__ import annotations

import torch
from harness import cpu_seconds, peak_megabytes
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import recall
from crosscue.methods.capabilities import LateInteraction, Tokens
from crosscue.methods.filip import token_wise
from crosscue.retrieval.late_scores import LateScores, TokenStore

IMAGES, CAPTIONS, PATCHES, WIDTH, AT_ONCE = 1_000, 5_000, 49, 512, 50
SHORTEST, LONGEST = 15, 45
CHECKED = 4


class TokenWise(LateInteraction):
    """FILIP's score over tokens that are already computed."""

    def image_tokens(self, images: object) -> Tokens:
        raise NotImplementedError("tokens are random here")

    text_tokens = image_tokens

    def token_scores(self, images: Tokens, texts: Tokens) -> tuple[Tensor, Tensor]:
        return token_wise(images.vectors, texts.vectors, texts.valid)


def fill(store: TokenStore, count: int, shortest: int, longest: int, generator: torch.Generator) -> TokenStore:
    for _ in range(0, count, AT_ONCE):
        lengths = torch.randint(shortest, longest + 1, (AT_ONCE, 1), generator=generator)
        valid = torch.arange(int(lengths.max())) < lengths
        vectors = normalize(torch.randn(*valid.shape, WIDTH, generator=generator), dim=-1)
        store.add(Tokens(vectors, valid, vectors[:, 0]))
    return store


def main() -> None:
    generator, cpu = torch.Generator().manual_seed(0), torch.device("cpu")
    images = fill(TokenStore("image"), IMAGES, PATCHES, PATCHES, generator)
    texts = fill(TokenStore("caption"), CAPTIONS, SHORTEST, LONGEST, generator)
    scores = LateScores(TokenWise(), images, texts, torch.arange(CAPTIONS), cpu)
    before, owner = peak_megabytes(), torch.arange(IMAGES).repeat_interleave(CAPTIONS // IMAGES)
    taken = cpu_seconds(lambda: [round(recall(direction).r1, 3) for direction in rank_scores(scores, owner)])
    after, difference = peak_megabytes(), 0.0
    few, tiled = images.take(torch.arange(CHECKED), cpu), scores.block(slice(0, CHECKED), slice(0, CAPTIONS))
    for caption in range(0, CAPTIONS, 250):
        alone = texts.take(torch.tensor([caption]), cpu)  # no padding
        for way, own in zip(tiled, token_wise(few.vectors, alone.vectors, alone.valid), strict=True):
            difference = max(difference, float((way[:, caption] - own[:, 0]).abs().max()))
    print(
        f"{IMAGES:,} x {CAPTIONS:,} pairs: {taken} on {torch.get_num_threads()} thread(s), peak memory "
        f"{after:.0f} MB ({before:.0f} MB of it libraries and tokens), largest difference from pairs by themselves "
        f"{difference:.1e}, R@1 {taken.result}"
    )


if __name__ == "__main__":
    main()
