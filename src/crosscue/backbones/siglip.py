"""Families `siglip` and `siglip2`: no class token, attention pooling, sigmoid-trained with a learned bias."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from crosscue.backbones.clip_towers import check_size
from crosscue.backbones.precision import Precision
from crosscue.backbones.prompting import arrange, insert, remove, run, word_order
from crosscue.backbones.protocol import ImageFeatures, ImageState, PixelSpec, Prompts, TextFeatures, TokenBatch
from crosscue.backbones.token_weights import TokenWeights, attentive, weighted_words
from crosscue.backbones.tokenizing import Tokenizer
from crosscue.backbones.towers import TwoTowers


class SiglipImageTower(nn.Module):
    """ViT without a class token; the pooling head looks at the patches only, never at prompts."""

    def __init__(self, vision_model: Any, image_size: int | None) -> None:
        super().__init__()
        self.vision_model = vision_model
        config = vision_model.config
        self.flexible = not hasattr(config, "image_size")  # Siglip2's NaFlex towers take patches and a grid
        self.patch_size: int = config.patch_size
        self.trained_size = int(config.num_patches**0.5) * config.patch_size if self.flexible else config.image_size
        self.size: int = image_size or self.trained_size
        check_size(self.size, config.patch_size)
        self.width: int = config.hidden_size
        self.patch_count = (self.size // config.patch_size) ** 2
        self.resizing: Tensor = (
            resizing(vision_model.embeddings, self.size // config.patch_size) if self.flexible else torch.empty(0)
        )
        self.layers = [_unmasked(layer) for layer in vision_model.encoder.layers]
        self.exact = (vision_model.post_layernorm, vision_model.head)

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, P, W), positions added."""
        if not self.flexible:
            return self.vision_model.embeddings(pixels, interpolate_pos_encoding=self.size != self.trained_size)
        side, patch = self.size // self.patch_size, self.patch_size
        patches = pixels.unflatten(3, (side, patch)).unflatten(2, (side, patch))  # (B, 3, h, p, w, p)
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (B, P, p * p * 3)
        embeddings = self.vision_model.embeddings
        weight = embeddings.position_embedding.weight  # (G, W)
        positions = (self.resizing.to(weight.device) @ weight.float()).to(weight.dtype)  # (P, W)
        return embeddings.patch_embedding(patches.to(embeddings.patch_embedding.weight.dtype)) + positions

    def state(self, pixels: Tensor, until_layer: int) -> ImageState:
        """Runs the layers before `until_layer` without prompts."""
        return ImageState(run(self.embed(pixels), self.layers, None, 0, stop=until_layer), until_layer)

    def first_norm(self, tokens: Tensor) -> Tensor:
        """Nothing stands between the embeddings and layer 0."""
        return tokens

    def forward(self, state: ImageState, prompts: Prompts | None) -> ImageFeatures:
        """Runs the layers from `state.layer` on, with prompts after the patches."""
        tokens, end = state.tokens, state.tokens.shape[1]
        if state.layer == 0 and prompts is not None and prompts.first == 0:
            tokens = insert(tokens, prompts.layers[0], end)
        tokens = run(tokens, self.layers, prompts, end, start=state.layer)
        patches = self.vision_model.post_layernorm(tokens[:, :end].float())  # (B, P, W)
        pooled = self.vision_model.head(patches)  # (B, W)
        return ImageFeatures(pooled, pooled, lambda: patches)


class SiglipTextTower(nn.Module):
    """Bidirectional transformer over a fixed number of positions without a padding mask, read at the last one."""

    def __init__(self, text_model: Any) -> None:
        super().__init__()
        self.text_model = text_model
        self.width: int = text_model.config.hidden_size
        self.layers = [_unmasked(layer) for layer in text_model.encoder.layers]
        self.exact = (text_model.final_layer_norm, text_model.head)

    def forward(self, tokens: TokenBatch, prompts: Prompts | None, token_weights: TokenWeights | None) -> TextFeatures:
        """Encodes prompts words [end] padding; the padding is part of what the tower was trained on."""
        words = weighted_words(self.text_model.embeddings.token_embedding(tokens.ids), token_weights)  # (B, N, W)
        if prompts is not None and prompts.first == 0:
            words = insert(words, prompts.layers[0], 0)
        order = word_order(prompts, tokens.content.sum(1), words.shape[1], 0)
        hidden = arrange(words, order) + self.text_model.embeddings.position_embedding.weight[: words.shape[1]]
        layers = attentive(self.layers, token_weights, order, 0)
        hidden = self.text_model.final_layer_norm(run(hidden, layers, prompts, 0).float())
        hidden = arrange(hidden, None if order is None else order.argsort(1))
        hidden = remove(hidden, prompts.count if prompts is not None else 0, 0)  # (B, N, W)
        pooled = hidden[:, -1]  # (B, W)
        head = self.text_model.head
        return TextFeatures(head(pooled), pooled, lambda: head(hidden))


class SiglipBackbone(TwoTowers):
    """`transformers.SiglipModel` and `Siglip2Model`."""

    family = "siglip"

    def __init__(
        self, model: Any, tokenizer: Any, pixels: PixelSpec, precision: Precision, image_size: int | None
    ) -> None:
        """Takes a SigLIP model and its tokenizer."""
        positions = model.config.text_config.max_position_embeddings
        super().__init__(
            SiglipImageTower(model.vision_model, image_size),
            SiglipTextTower(model.text_model),
            Tokenizer(tokenizer, positions, pad_to=positions),
            pixels,
            precision,
            model.config.vision_config.hidden_size,
        )
        self.family = model.config.model_type
        self.scale, self.bias = model.logit_scale, model.logit_bias

    @property
    def logit_scale(self) -> Tensor:
        """() exp of the checkpoint's logit scale."""
        return self.scale.detach().float().exp().squeeze()

    @property
    def logit_bias(self) -> Tensor:
        """() the checkpoint's bias of scaled cosines."""
        return self.bias.detach().float().squeeze()

    def word_embedding(self, ids: Tensor) -> Tensor:
        """(...,) -> (..., W)."""
        return self.text.text_model.embeddings.token_embedding(ids)


def resizing(embeddings: Any, side: int) -> Tensor:
    """Returns (P, G): the share of each position embedding of a Siglip2 tower in those of `side` x `side` patches."""
    old, count = embeddings.position_embedding_size, embeddings.num_patches
    each = torch.eye(count).view(old, old, count)
    shares: Tensor = embeddings.resize_positional_embeddings(each, torch.tensor([[side, side]]), side**2)
    return shares[0]


def _unmasked(layer: Any) -> Any:
    return partial(layer, attention_mask=None)  # a copy of the tower has the copied layer in it
