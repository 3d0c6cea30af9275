"""Normalised scores as a share of the evaluation that they are added to.

    python benchmarks/normalising.py ../shared/data/fdrd_caltech101

The untouched starter at 160 px encodes the test split, with images that no cache holds, and ranks it. Then the result is computed
once more with a bank of 500 training images and captions, as a run folder contains it.
"""

from __future__ import annotations

from harness import arguments, cpu_seconds

from crosscue import Inference, load_backbone, read_pairs
from crosscue.backbones.frozen import pixel_store
from crosscue.evaluation.measuring import evaluate, with_bank
from crosscue.methods.images import cached_images
from crosscue.methods.registry import build
from crosscue.retrieval.bank import bank_of

SIZE = 160


def main() -> None:
    given = arguments(__doc__)
    source, method = read_pairs(given.source), build("zero_shot", load_backbone("starter", image_size=SIZE))
    train, test, inference = source.split("train"), source.split("test"), Inference(normalise="bank").of(method)
    bank = bank_of(method, train, cached_images(train, method), inference)
    pixels = pixel_store(test.images, method.backbone)
    plain = cpu_seconds(lambda: evaluate(method, test, pixels))
    more = cpu_seconds(lambda: with_bank(method, plain.result, bank, inference))
    print(f"evaluation of {len(test):,} images: {plain}")
    print(f"normalised too: {more}, {100 * more.seconds / plain.seconds:.2f} % of it")


if __name__ == "__main__":
    main()
