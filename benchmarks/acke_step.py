"""A training step of `acke` on CLIP ViT-B/32 shapes, against a step of `dual_prompt` on the same images and captions.

    python benchmarks/acke_step.py ../shared/data/fdrd_caltech101

Batch 32, five prompts, one of three descriptions an image drawn per step. Real captions of other images stand for the
descriptions. The frozen queries are already computed, as in every epoch but the first. For comparison, `acke` also runs with
all three descriptions.
"""

from __future__ import annotations

import torch
from harness import BATCH, Way, alternate, arguments, backbones, batches, print_table, random_pixels, training_step

from crosscue import read_pairs
from crosscue.knowledge.views.record import ViewKnowledge, Views
from crosscue.methods.acke.model import Acke
from crosscue.methods.contract import Batch, Method
from crosscue.methods.registry import build

PROMPTS, GOAL = 5, 1.3


def step(method: Method, parts: list[Batch]) -> Way:
    """Return the way of a step on each of the batches."""
    return training_step(
        method, lambda index: sum(value for key, value in method.losses(parts[index]).items() if key.endswith("_loss"))
    )


def main() -> None:
    given = arguments(__doc__, steps=3, precision="")
    parts = batches([pair.captions[0] for pair in read_pairs(given.source)], 4 * (given.steps + 1))
    pixels = random_pixels()
    for _, backbone in backbones(given.precision):
        title = backbone.precision.name
        with torch.no_grad():
            untouched = backbone.encode_image(pixels)
        options = {"top_k": PROMPTS, "views": "given"}
        methods = {
            "dual_prompt": build("dual_prompt", backbone, {"context_tokens": PROMPTS}),
            "acke": build("acke", backbone, options),
            "acke, three descriptions": build("acke", backbone, options | {"views_per_step": 3}),
        }
        steps, known = [], {}
        for index in range(0, len(parts), 4):
            own, *described = parts[index : index + 4]
            names = [f"{index}-{row}" for row in range(BATCH)]
            steps.append(Batch(pixels, own, names, untouched=untouched))
            known |= {name: Views(*texts, source="benchmark") for name, *texts in zip(names, *described, strict=True)}
        for method in methods.values():
            if isinstance(method, Acke):
                method.views.known = ViewKnowledge(known)
                method.remember([text for part in parts for text in part])
        timings = alternate({name: step(method, steps) for name, method in methods.items()}, given.steps)
        print_table(title, timings, BATCH * given.steps, "pairs")
        met = timings["acke"].seconds <= GOAL * timings["dual_prompt"].seconds
        print(f"{title}  goal: at most {GOAL}x the time of dual_prompt, {'met' if met else 'missed'}")


if __name__ == "__main__":
    main()
