"""A training step of DCAR on CLIP ViT-B/32 shapes: against `dual_prompt` with as many texts, and against the padded way.

    python benchmarks/dcar_step.py ../shared/data/fdrd_caltech101

Batch 32 with 4 negatives a caption, written by `crosscue data negatives`' generator for the real captions. Three ways alternate in one process:
DCAR; a dual prompt that reads the same 32 + 32 + 128 sentences; the same equations with `transformers` encoders and text padded to 77.
The step is one of the second epoch or later: DCAR knows the captions' token features, which are constant; the padded way computes them in every step.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from clip_shapes import write_checkpoint
from torch import Tensor
from torch.nn.functional import normalize
from training_step import PlainLoop

from crosscue import load_backbone, read_pairs
from crosscue.backbones.embedding import encode_bucketed
from crosscue.data.negatives import NegativeWriter
from crosscue.losses.category import category_aware
from crosscue.losses.contrastive import contrastive
from crosscue.methods.contract import Batch
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.registry import build

BATCH, STEPS, CONTEXT, NEGATIVES = 32, 3, 4, 4


class PaddedDcar(PlainLoop):
    """DCAR's equations, straightforwardly: every sentence padded to 77, token features computed anew in every step."""

    def token_features(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        hidden = self.model.text_model(**tokens).last_hidden_state
        content = tokens.attention_mask.bool()
        content[:, 0] = False
        content[torch.arange(len(content)), tokens.attention_mask.sum(1) - 1] = False
        return normalize(self.model.text_projection(hidden).float(), dim=-1), content

    def step(self, method: Dcar, pixels: Tensor, captions: list[str], edited: list[str], weights: Tensor) -> Tensor:
        context, prompts = method.prompts.context[0], method.prompts.coupling[0](method.prompts.context[0])
        images = normalize(self.image(pixels, prompts).float(), dim=-1)
        with torch.no_grad():
            blank = torch.full_like(pixels[:1], 255.0)
            empty = normalize(self.image(blank, prompts).float(), dim=-1)
            features, content = self.token_features(captions)
            difference = (features @ empty[0] - torch.einsum("bnd,bd->bn", features, images)).abs() * content
            count = content.sum(1, keepdim=True)
            rho = torch.where(content, count * difference / difference.sum(1, keepdim=True), 1.0)[:, : 77 - CONTEXT]
        weighted = normalize(self.text(captions, context, rho).float(), dim=-1)
        texts = normalize(self.text(captions + edited, context).float(), dim=-1)
        adapted = normalize(method.category(texts), dim=-1)
        scale = self.model.logit_scale.float().exp()
        negatives = adapted[BATCH:].view(BATCH, NEGATIVES, -1)
        cate = category_aware(images, adapted[:BATCH], negatives, weights, 1.5, scale)
        return 0.8 * contrastive(images, weighted, scale) + 0.2 * cate


def main(source: str) -> None:
    pairs = read_pairs(source)
    writer = NegativeWriter(pairs)
    chosen = [(pair.captions[0], made) for pair in pairs if len(made := writer.write(pair)) == NEGATIVES]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, 224, 224), generator=generator, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_checkpoint(Path(scratch))
        for precision in ("fp32", "bf16"):
            backbone = load_backbone(str(folder), precision=precision)
            options = {"context_tokens": CONTEXT}
            dcar, dual = build("dcar", backbone, options), build("dual_prompt", backbone, options)
            padded = PaddedDcar(folder, backbone.precision.dtype)
            seconds: dict[str, float] = dict.fromkeys(("dcar", "dual_prompt", "padded"), 0.0)
            values: dict[str, float] = {}
            for number in range(STEPS + 1):
                rows = chosen[number * BATCH : (number + 1) * BATCH]
                captions = [caption for caption, _ in rows]
                negatives = [list(made) for _, made in rows]
                edited = [negative.text for made in negatives for negative in made]
                batch = Batch(pixels, captions, [str(row) for row in range(BATCH)], negatives=negatives)
                dcar.token_features(captions, dcar.tokenize(captions))
                weights = torch.tensor([[dcar.weight(negative.type) for negative in made] for made in negatives])
                for name in seconds:
                    for method in (dcar, dual):
                        method.zero_grad()
                    start = time.perf_counter()
                    if name == "dcar":
                        loss = sum(dcar.losses(batch).values())
                    elif name == "padded":
                        loss = padded.step(dcar, backbone.normalise(pixels), captions, edited, weights)
                    else:
                        images = dual.encode_image(pixels)
                        texts = encode_bucketed(captions + edited, dual.encode_text)
                        again = encode_bucketed(captions, dual.encode_text)
                        loss = contrastive(images, again, backbone.logit_scale) + (images @ texts.T).mean()
                    loss.backward()
                    if number:  # the first is warm-up
                        seconds[name] += time.perf_counter() - start
                    values[name] = loss.item()
            print(
                f"{precision}  DCAR {BATCH * STEPS / seconds['dcar']:.1f} pairs/s: {seconds['dcar'] / seconds['dual_prompt']:.2f}x the time of "
                f"dual_prompt with as many texts, {seconds['padded'] / seconds['dcar']:.2f}x as fast as padded; "
                f"loss {values['dcar']:.4f} and {values['padded']:.4f}"
            )


if __name__ == "__main__":
    main(sys.argv[1])
