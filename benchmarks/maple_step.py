"""A training step of `maple` (2 vectors, 9 layers) on CLIP ViT-B/32 shapes, against the straightforward way.

    python benchmarks/maple_step.py ../shared/data/fdrd_caltech101

Random weights, real captions, batch 32. The straightforward way is what the authors' code does: text padded to 77 positions, every
position of every layer computed. Both have the same towers in the same number format and the same prompts; steps alternate in one process, and
the losses and gradients are compared.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from clip_shapes import write_checkpoint
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from training_step import PlainLoop
from transformers.masking_utils import create_causal_mask

from crosscue import load_backbone, read_pairs
from crosscue.losses.contrastive import contrastive
from crosscue.methods.contract import Batch
from crosscue.methods.maple import Maple
from crosscue.methods.registry import build

BATCH, STEPS = 32, 5


class PaddedMaple(PlainLoop):
    """MaPLe's equations over the stock layers."""

    def deep_text(self, captions: list[str], prompts: list[Tensor]) -> Tensor:
        """Sentences and the prompts of each layer (k, W) -> (B, D)."""
        model, count = self.model.text_model, len(prompts[0])
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, max_length=77 - count, return_tensors="pt"
        )
        words = model.embeddings.token_embedding(tokens.input_ids)
        words = torch.cat([words[:, :1], prompts[0].expand(len(words), -1, -1).to(words.dtype), words[:, 1:]], dim=1)
        hidden = words + model.embeddings.position_embedding.weight
        real = torch.cat([tokens.attention_mask[:, :1].expand(-1, 1 + count), tokens.attention_mask[:, 1:]], 1)
        mask = create_causal_mask(model.config, inputs_embeds=hidden, attention_mask=real, past_key_values=None)
        for index, layer in enumerate(model.encoder.layers):
            if 0 < index < len(prompts):
                own = prompts[index].expand(len(hidden), -1, -1).to(hidden.dtype)
                hidden = torch.cat([hidden[:, :1], own, hidden[:, 1 + count :]], dim=1)
            hidden = layer(hidden, attention_mask=mask, is_causal=True)
        end = model.final_layer_norm(hidden)[torch.arange(len(hidden)), real.sum(1) - 1]
        return self.model.text_projection(end)

    def deep_image(self, pixels: Tensor, prompts: list[Tensor]) -> Tensor:
        """Pixels and the prompts of each layer (k, W) -> (B, D)."""
        model, count = self.model.vision_model, len(prompts[0])
        tokens = model.embeddings(pixels.to(self.model.dtype))
        tokens = torch.cat([tokens, prompts[0].expand(len(tokens), -1, -1).to(tokens.dtype)], dim=1)
        hidden = model.pre_layrnorm(tokens)
        for index, layer in enumerate(model.encoder.layers):
            if 0 < index < len(prompts):
                own = prompts[index].expand(len(hidden), -1, -1).to(hidden.dtype)
                hidden = torch.cat([hidden[:, :-count], own], dim=1)
            hidden = layer(hidden, attention_mask=None, is_causal=False)
        return self.model.visual_projection(model.post_layernorm(hidden)[:, 0])

    def step(self, method: Maple, pixels: Tensor, captions: list[str]) -> Tensor:
        """The loss of a batch."""
        context = list(method.prompts.context)
        coupled = [couple(vectors) for couple, vectors in zip(method.prompts.coupling, context, strict=True)]
        images = normalize(self.deep_image(pixels, coupled).float(), dim=-1)
        texts = normalize(self.deep_text(captions, context).float(), dim=-1)
        return contrastive(images, texts, self.model.logit_scale.float().exp())


def main(source: str) -> None:
    captions = list(dict.fromkeys(pair.captions[0] for pair in read_pairs(source)))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(captions), generator=generator)[: BATCH * (STEPS + 1)].view(-1, BATCH).tolist()
    batches = [[captions[row] for row in rows] for rows in order]
    pixels = torch.randint(0, 256, (BATCH, 3, 224, 224), generator=generator, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_checkpoint(Path(scratch))
        for precision in ("fp32", "bf16"):
            compare(folder, precision, pixels, batches)


def compare(folder: Path, precision: str, pixels: Tensor, batches: list[list[str]]) -> None:
    backbone = load_backbone(str(folder), precision=precision)
    method = build("maple", backbone)
    padded = PaddedMaple(folder, backbone.precision.dtype)
    names = [str(index) for index in range(BATCH)]
    seconds: dict[str, float] = dict.fromkeys(("crosscue", "padded"), 0.0)
    losses, gradients = {}, {}
    for number, texts in enumerate(batches):
        for name in seconds:
            method.zero_grad()
            start = time.perf_counter()
            if name == "crosscue":
                loss = method.losses(Batch(pixels, texts, names))["contrastive_loss"]
            else:
                loss = padded.step(method, backbone.normalise(pixels), texts)
            loss.backward()
            if number:  # the first is warm-up
                seconds[name] += time.perf_counter() - start
            losses[name] = loss.item()
            gradients[name] = torch.cat([vectors.grad.flatten() for vectors in method.prompts.context])
    own, other = (BATCH * (len(batches) - 1) / seconds[name] for name in ("crosscue", "padded"))
    alike = cosine_similarity(gradients["crosscue"], gradients["padded"], dim=0)
    print(
        f"{precision}  crosscue {own:.1f} pairs/s, padded {other:.1f} pairs/s: {own / other:.2f}x   "
        f"loss {losses['crosscue']:.5f} and {losses['padded']:.5f}, cosine of the gradients {alike:.5f}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
