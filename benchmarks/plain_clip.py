"""CLIP with prompts, the straightforward way: the stock layers, text padded to 77, every position of every layer computed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer
from transformers.masking_utils import create_causal_mask


class PlainClip:
    """The towers of research code. `prompts[i]` (k, W) enters at the input of layer i."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.model = CLIPModel.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)
        self.scale = self.model.logit_scale.float().exp()

    def tokenize(self, captions: list[str], prompts: int = 0) -> dict[str, Tensor]:
        """Return tokens padded to 77 positions less the prompts."""
        length = 77 - prompts
        return self.tokenizer(captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt")

    def text(self, captions: list[str], prompts: list[Tensor], token_weights: Tensor | None = None) -> Tensor:
        """Return unit vectors (B, D); token_weights (B, N) scale the word embeddings."""
        model, count = self.model.text_model, len(prompts[0])
        tokens = self.tokenize(captions, count)
        words = model.embeddings.token_embedding(tokens.input_ids)
        if token_weights is not None:
            words = words * token_weights.unsqueeze(-1).to(words.dtype)
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
        return normalize(self.model.text_projection(end).float(), dim=-1)

    def image(self, pixels: Tensor, prompts: list[Tensor]) -> Tensor:
        """Return unit vectors (B, D) of normalised pixels (B, 3, S, S)."""
        model, count = self.model.vision_model, len(prompts[0])
        tokens = model.embeddings(pixels.to(self.model.dtype))
        tokens = torch.cat([tokens, prompts[0].expand(len(tokens), -1, -1).to(tokens.dtype)], dim=1)
        hidden = model.pre_layrnorm(tokens)
        for index, layer in enumerate(model.encoder.layers):
            if 0 < index < len(prompts):
                own = prompts[index].expand(len(hidden), -1, -1).to(hidden.dtype)
                hidden = torch.cat([hidden[:, :-count], own], dim=1)
            hidden = layer(hidden, attention_mask=None, is_causal=False)
        return normalize(self.model.visual_projection(model.post_layernorm(hidden)[:, 0]).float(), dim=-1)
