"""A training step of ACKE on CLIP ViT-B/32 shapes, against a step of `dual_prompt` on the same pictures and captions.

    python benchmarks/acke_step.py ../shared/data/fdrd_caltech101

Batch 32, five prompts, one of three descriptions a picture drawn per step (real captions of other pictures stand for them), frozen queries
already known, as in every epoch but the first. Both methods alternate in one process; processor time is compared, so that other programs
do not disturb it. For a comparison, ACKE also with all three.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from clip_shapes import write_checkpoint

from crosscue import load_backbone, read_pairs
from crosscue.knowledge.views.record import ViewKnowledge, Views
from crosscue.methods.acke.model import Acke
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build

BATCH, STEPS, PROMPTS, GOAL = 32, 3, 5, 1.7


def main(source: str) -> None:
    captions = [pair.captions[0] for pair in read_pairs(source)]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(captions), generator=generator)[: 4 * BATCH * (STEPS + 1)].view(-1, 4, BATCH).tolist()
    pixels = torch.randint(0, 256, (BATCH, 3, 224, 224), generator=generator, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_checkpoint(Path(scratch))
        for precision in ("fp32", "bf16"):
            backbone = load_backbone(str(folder), precision=precision)
            with torch.no_grad():
                untouched = backbone.encode_image(pixels)
            options = {"top_k": PROMPTS, "views": "given"}
            methods = {
                "dual_prompt": build("dual_prompt", backbone, {"context_tokens": PROMPTS}),
                "acke": build("acke", backbone, options),
                "acke, three descriptions": build("acke", backbone, options | {"views_per_step": 3}),
            }
            seconds = dict.fromkeys(methods, 0.0)
            for number, (own, *described) in enumerate(chosen):
                names = [f"{number}-{row}" for row in range(BATCH)]
                batch = Batch(pixels, [captions[i] for i in own], names, untouched=untouched)
                known = {
                    name: Views(*(captions[texts[row]] for texts in described), source="benchmark")
                    for row, name in enumerate(names)
                }
                for name, method in methods.items():
                    if isinstance(method, Acke):
                        method.views.known = ViewKnowledge(known)
                        sentences = [*batch.captions, *(captions[i] for texts in described for i in texts)]
                        method.frozen.remember(sentences)
                    method.zero_grad()
                    start = time.process_time()
                    losses = method.losses(batch)
                    torch.stack([value for key, value in losses.items() if key.endswith("_loss")]).sum().backward()
                    if number:  # the first is warm-up
                        seconds[name] += time.process_time() - start
            base = seconds["dual_prompt"]
            ratio = seconds["acke"] / base
            print(
                f"{precision}  dual_prompt {BATCH * STEPS / base:.1f} pairs/s; acke {BATCH * STEPS / seconds['acke']:.1f} pairs/s, "
                f"{ratio:.2f}x the time (goal <= {GOAL}: {'met' if ratio <= GOAL else 'missed'}); with all three "
                f"descriptions {seconds['acke, three descriptions'] / base:.2f}x"
            )


if __name__ == "__main__":
    main(sys.argv[1])
