"""A training step of `dcar` and the padded step taken apart: FLOPs and CPU time of their parts, forward and backward.

    python benchmarks/dcar_parts.py ../shared/data/fdrd_caltech101 --precision fp32

The batch is that of `dcar_step.py`: 32 images, 4 negatives a caption, CLIP ViT-B/32 shapes. A part runs by itself on what the others
have made, and its backward pass starts with ones. The rows of a step therefore add up to it, but for sums of gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ceiling import ceiling
from dcar_step import CONTEXT, batches_of, head_loss, padded_weights
from harness import BATCH, arguments, backbones, cpu_seconds, random_pixels
from plain_clip import PlainClip
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from crosscue import read_pairs
from crosscue.backbones.embedding import bucket_size, encode_bucketed, encode_rows, packs
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.token_weights import TokenWeights
from crosscue.methods.contract import Batch
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.registry import build
from crosscue.training.attention import attention_of_training

Parts = Mapping[str, Callable[[], Tensor]]


@dataclass
class Pass:
    """The forward or the backward passes of a part: FLOPs of one, and CPU seconds of all."""

    flops: float = 0.0
    seconds: float = 0.0


def apart(
    parts: Parts, rounds: int, attention: Callable[[], AbstractContextManager[None]]
) -> dict[str, tuple[Pass, Pass]]:
    """Run the parts in turn, and return the forward and the backward passes of each."""
    found = {name: (Pass(), Pass()) for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            forward, backward = found[name]
            with attention():
                result = passed(part, forward)
                if result.requires_grad:
                    passed(result.sum().backward, backward)
    return found


def passed(work: Callable[[], Any], taken: Pass) -> Any:
    """Return the result of a pass, which is counted and timed; to count costs milliseconds."""
    with FlopCounterMode(display=False) as counter:
        timing = cpu_seconds(work)
    taken.flops, taken.seconds = float(counter.get_total_flops()), taken.seconds + timing.seconds
    return timing.result


def parts_of(dcar: Dcar, backbone: Backbone, pixels: Tensor, batch: Batch) -> Parts:
    """Return the parts of our step."""
    edited = [negative.text for row in batch.negatives for negative in row]
    images, weighted, texts = (unit_vectors(count, backbone.embed_dim) for count in (BATCH, BATCH, BATCH + len(edited)))
    size = bucket_size(BATCH)

    def weights() -> Tensor:
        blank = dcar.blank_feature()

        def of(rows: list[int]) -> Tensor:
            some = [batch.captions[row] for row in rows]
            return dcar.token_weights(some, dcar.tokenize(some), images.detach()[rows], blank).sum(1)

        return encode_rows(batch.captions, of, size)

    def weighted_captions(rows: list[int]) -> Tensor:
        tokens = dcar.tokenize([batch.captions[row] for row in rows])
        return dcar.read(tokens, TokenWeights(torch.ones(tokens.ids.shape), dcar.place))

    return {
        "images": lambda: dcar.encode_image(pixels),
        "captions and negatives": lambda: encode_bucketed(
            [*batch.captions, *edited], dcar.encode_text, whole=packs(backbone)
        ),
        "weights": weights,
        "weighted captions": lambda: encode_rows(batch.captions, weighted_captions, size),
        "head and losses": lambda: head_loss(dcar, images, texts, weighted, batch, backbone.logit_scale),
    }


def padded_parts(plain: PlainClip, dcar: Dcar, pixels: Tensor, batch: Batch) -> Parts:
    """Return the parts of the padded step; its head and losses are those of ours."""
    context, coupling = dcar.prompts.context[0], dcar.prompts.coupling[0]
    edited = [negative.text for row in batch.negatives for negative in row]
    images, rho = unit_vectors(BATCH, dcar.backbone.embed_dim).detach(), torch.ones(BATCH, 77 - CONTEXT)
    return {
        "images": lambda: plain.image(pixels, [coupling(context)]),
        "captions and negatives": lambda: plain.text(batch.captions + edited, [context]),
        "weights": lambda: padded_weights(plain, dcar, pixels, batch, images),
        "weighted captions": lambda: plain.text(batch.captions, [context], rho),
    }


def unit_vectors(count: int, width: int) -> Tensor:
    """Return random features (count, width) with a gradient."""
    return normalize(torch.randn(count, width), dim=-1).requires_grad_()


def print_parts(title: str, found: Mapping[str, tuple[Pass, Pass]], rounds: int, most: float) -> None:
    """Print the parts of a step, and their sum."""
    rows = {name: [(each.flops / 1e9, each.seconds / rounds) for each in passes] for name, passes in found.items()}
    rows["all"] = [tuple(map(sum, zip(*way, strict=True))) for way in zip(*rows.values(), strict=True)]
    for name, ((first, forward), (second, backward)) in rows.items():
        share = (first + second) / (forward + backward) / most
        print(
            f"{title}  {name:24} {first:7.1f} + {second:7.1f} GFLOP, {forward:6.2f} + {backward:6.2f} CPU-s, "
            f"{100 * share:3.0f} % of the ceiling {most:.0f}",
            flush=True,
        )


def main() -> None:
    given = arguments(__doc__, steps=1, precision="")
    pixels = random_pixels()
    (batch,) = batches_of(read_pairs(given.source), pixels, 1)
    for folder, backbone in backbones(given.precision):
        measure(folder, backbone, pixels, batch, given.steps)


def measure(folder: Path, backbone: Backbone, pixels: Tensor, batch: Batch, rounds: int) -> None:
    """Take both steps apart, in turn, and print them."""
    title = backbone.precision.name
    dcar = build("dcar", backbone, {"context_tokens": CONTEXT})
    dcar.remember(batch.captions)
    plain = PlainClip(folder, backbone.precision.dtype)
    most = ceiling(title)
    ours = apart(parts_of(dcar, backbone, pixels, batch), rounds, lambda: attention_of_training(backbone))
    padded = apart(padded_parts(plain, dcar, backbone.normalise(pixels), batch), rounds, nullcontext)
    print_parts(f"{title}  dcar", ours, rounds, most)
    print_parts(f"{title}  padded", padded, rounds, most)


if __name__ == "__main__":
    main()
