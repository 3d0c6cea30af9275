"""A training step of `dual_prompt` and of `maple` on CLIP ViT-B/32 shapes, against the straightforward way with padded text.

    python benchmarks/prompt_steps.py ../shared/data/fdrd_caltech101

Random weights, real captions and their real lengths, batch 32. `dual_prompt` has four context tokens at layer 0 of both
towers; `maple` has two vectors at 9 layers. Both ways have the same frozen towers in the same dtype, the same prompts and the
same batches. The losses and gradients are compared, so that the speed is that of the same step.
"""

from __future__ import annotations

from ceiling import print_shares
from harness import (
    BATCH,
    alternate,
    arguments,
    backbones,
    batches,
    print_agreement,
    print_table,
    random_pixels,
    training_step,
)
from plain_clip import PlainClip

from crosscue import read_pairs
from crosscue.losses.contrastive import contrastive
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build

METHODS = {"dual_prompt": {"context_tokens": 4}, "maple": {}}


def main() -> None:
    given = arguments(__doc__, steps=6, precision="")
    captions = list(dict.fromkeys(pair.captions[0] for pair in read_pairs(given.source)))
    parts = batches(captions, given.steps + 1)
    pixels, names = random_pixels(), [str(index) for index in range(BATCH)]
    for folder, backbone in backbones(given.precision):
        plain, images = PlainClip(folder, backbone.precision.dtype), backbone.normalise(pixels)
        for name, options in METHODS.items():
            method = build(name, backbone, options)
            context, coupling = list(method.prompts.context), method.prompts.coupling

            def ours(index, method=method):
                return method.losses(Batch(pixels, parts[index], names))["contrastive_loss"]

            def padded(index, plain=plain, images=images, context=context, coupling=coupling):
                coupled = [couple(vectors) for couple, vectors in zip(coupling, context, strict=True)]
                return contrastive(plain.image(images, coupled), plain.text(parts[index], context), plain.scale)

            steps = {
                name: training_step(method, ours, context),
                "padded": training_step(method, padded, context, plain=True),
            }
            timings = alternate(steps, given.steps)
            print_table(backbone.precision.name, timings, BATCH * given.steps, "pairs")
            print_shares(backbone.precision.name, backbone.precision.name, steps, timings, given.steps)
            print_agreement(backbone.precision.name, *timings.values())


if __name__ == "__main__":
    main()
