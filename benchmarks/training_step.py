"""A training step of `dual_prompt` on CLIP ViT-B/32 shapes, against a plain loop over `transformers` with padded text.

    python benchmarks/training_step.py ../shared/data/fdrd_caltech101

Random weights, real captions and their real lengths, batch 32, four context tokens at layer 0 of both towers. Both ways have the
same frozen towers in the same number format, the same prompts and the same batches; steps alternate in one process. The losses
and the gradients of the prompts are compared, so that the speed is that of the same step.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from clip_shapes import write_checkpoint
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize
from transformers import CLIPModel, CLIPTokenizer
from transformers.masking_utils import create_causal_mask

from crosscue import load_backbone, read_pairs
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build

BATCH, STEPS, CONTEXT = 32, 6, 4


class PlainLoop:
    """The same method the way research code writes it: the stock encoders, text padded to 77, every position computed."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.model = CLIPModel.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)

    def text(self, captions: list[str], context: Tensor, token_weights: Tensor | None = None) -> Tensor:
        model = self.model.text_model
        length = 77 - len(context)
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        words = model.embeddings.token_embedding(tokens.input_ids)
        if token_weights is not None:
            words = words * token_weights.unsqueeze(-1).to(words.dtype)
        prompts = context.expand(len(words), -1, -1).to(words.dtype)
        words = torch.cat([words[:, :1], prompts, words[:, 1:]], dim=1) + model.embeddings.position_embedding.weight
        real = torch.cat([tokens.attention_mask[:, :1].expand(-1, 1 + len(context)), tokens.attention_mask[:, 1:]], 1)
        mask = create_causal_mask(model.config, inputs_embeds=words, attention_mask=real, past_key_values=None)
        hidden = model.encoder(inputs_embeds=words, attention_mask=mask, is_causal=True).last_hidden_state
        end = hidden[torch.arange(len(hidden)), real.sum(1) - 1]
        return self.model.text_projection(model.final_layer_norm(end))

    def image(self, pixels: Tensor, prompts: Tensor) -> Tensor:
        model = self.model.vision_model
        tokens = model.embeddings(pixels.to(self.model.dtype))
        tokens = torch.cat([tokens, prompts.expand(len(tokens), -1, -1).to(tokens.dtype)], dim=1)
        hidden = model.encoder(inputs_embeds=model.pre_layrnorm(tokens)).last_hidden_state
        return self.model.visual_projection(model.post_layernorm(hidden[:, 0]))

    def loss(self, pixels: Tensor, captions: list[str], context: Tensor, prompts: Tensor) -> Tensor:
        images = normalize(self.image(pixels, prompts).float(), dim=-1)
        texts = normalize(self.text(captions, context).float(), dim=-1)
        logits = self.model.logit_scale.float().exp() * images @ texts.T
        labels = torch.arange(len(logits))
        return cross_entropy(logits, labels) + cross_entropy(logits.T, labels)


def main(source: str) -> None:
    captions = [pair.captions[0] for pair in read_pairs(source)]
    generator = torch.Generator().manual_seed(0)
    batches = [
        [captions[i] for i in torch.randperm(len(captions), generator=generator)[:BATCH].tolist()] for _ in range(STEPS)
    ]
    pixels = torch.randint(0, 256, (BATCH, 3, 224, 224), generator=generator, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_checkpoint(Path(scratch))
        for precision in ("fp32", "bf16"):
            compare(folder, precision, pixels, batches)


def compare(folder: Path, precision: str, pixels: Tensor, batches: list[list[str]]) -> None:
    backbone = load_backbone(str(folder), precision=precision)
    method = build("dual_prompt", backbone, {"context_tokens": CONTEXT})
    context, coupling = method.prompts.context[0], method.prompts.coupling[0]
    plain = PlainLoop(folder, backbone.precision.dtype)
    names = [str(index) for index in range(BATCH)]
    seconds, losses, gradients = {}, {}, {}
    for step, texts in enumerate([batches[0], *batches]):
        for name in ("crosscue", "plain loop"):
            method.zero_grad()
            start = time.perf_counter()
            if name == "crosscue":
                loss = method.losses(Batch(pixels, texts, names))["contrastive_loss"]
            else:
                loss = plain.loss(backbone.normalise(pixels), texts, context, coupling(context))
            loss.backward()
            if step:  # the first is warm-up
                seconds.setdefault(name, []).append(time.perf_counter() - start)
            losses[name], gradients[name] = loss.item(), context.grad.flatten().clone()
    own, other = (BATCH * STEPS / sum(seconds[name]) for name in ("crosscue", "plain loop"))
    print(
        f"{precision}  crosscue {own:.1f} pairs/s, plain loop {other:.1f} pairs/s: {own / other:.2f}x   "
        f"loss {losses['crosscue']:.5f} and {losses['plain loop']:.5f}, "
        f"cosine of the gradients {cosine_similarity(gradients['crosscue'], gradients['plain loop'], dim=0):.5f}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
