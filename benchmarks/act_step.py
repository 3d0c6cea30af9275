"""A training step of `action` in its first stage on CLIP ViT-B/32 shapes, against `dual_prompt`.

    python benchmarks/act_step.py flickr8k

Random weights, real captions with knowledge from spaCy, batch 32, image states from pixels. Two rows of `action` differ in
the layer where the knowledge enters; each caption and image has two hard negatives.
"""

from __future__ import annotations

from harness import BATCH, alternate, arguments, backbones, batches, print_table, random_pixels, training_step

from crosscue import read_pairs
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build

OPTIONS = {"knowledge": "spacy", "candidates": 2}
LAYERS = (9, 11)


def main() -> None:
    given = arguments(__doc__, steps=3, precision="bf16")
    captions = list(dict.fromkeys(pair.captions[0] for pair in read_pairs(given.source)))
    parts = batches(captions, given.steps + 1)
    pixels, names = random_pixels(), [str(index) for index in range(BATCH)]
    for _, backbone in backbones(given.precision):
        methods = {"dual_prompt": build("dual_prompt", backbone, {"context_tokens": 4})}
        for layer in LAYERS:
            action = build("action", backbone, {**OPTIONS, "aim_layer": layer, "deep_start": layer + 1})
            action.require([caption for part in parts for caption in part])
            methods[f"action, knowledge at layer {layer}"] = action

        def step(index, method):
            return method.losses(Batch(pixels, parts[index], names))["contrastive_loss"]

        ways = {
            name: training_step(method.train(), lambda index, method=method: step(index, method))
            for name, method in methods.items()
        }
        print_table(given.precision, alternate(ways, given.steps), BATCH * given.steps, "pairs")


if __name__ == "__main__":
    main()
