"""The two towers of CLIP, run layer by layer on `transformers` modules so that prompts can go in anywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from crosscue.backbones.prompting import insert, remove, run
from crosscue.backbones.protocol import ImageFeatures, ImageState, Prompts, TextFeatures, TokenBatch
from crosscue.errors import BackboneError


class ClipImageTower(nn.Module):
    """ViT with a class token: `vision_model` and `visual_projection` of a CLIP checkpoint."""

    def __init__(self, vision_model: Any, projection: nn.Linear, image_size: int | None) -> None:
        super().__init__()
        self.vision_model, self.projection = vision_model, projection
        config = vision_model.config
        self.patch_size: int = config.patch_size
        self.size = image_size or config.image_size
        if image_size is not None and image_size != config.image_size:
            check_size(image_size, config.patch_size)
            resize_positions(vision_model.embeddings, image_size // config.patch_size)
        self.width: int = config.hidden_size
        self.patch_count = (self.size // config.patch_size) ** 2
        self.layers = [_bidirectional(layer) for layer in vision_model.encoder.layers]
        self.exact: tuple[Any, ...] = (vision_model.post_layernorm, projection)

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 1 + P, W), positions added, before the first norm."""
        embeddings = self.vision_model.embeddings
        patches = embeddings.patch_embedding(pixels.to(embeddings.patch_embedding.weight.dtype))  # (B, W, h, w)
        patches = patches.flatten(2).transpose(1, 2)  # (B, P, W)
        token = embeddings.class_embedding.expand(len(patches), 1, -1)
        return torch.cat([token, patches], dim=1) + embeddings.position_embedding.weight

    def state(self, pixels: Tensor, until_layer: int) -> ImageState:
        """Runs the layers before `until_layer` without prompts."""
        tokens = self.embed(pixels)
        if until_layer > 0:
            tokens = run(self.vision_model.pre_layrnorm(tokens), self.layers, None, 0, stop=until_layer)
        return ImageState(tokens, until_layer)

    def forward(self, state: ImageState, prompts: Prompts | None) -> ImageFeatures:
        """Runs the layers from `state.layer` on, with prompts after the patches."""
        tokens, end = state.tokens, state.tokens.shape[1]
        if state.layer == 0:
            if prompts is not None and prompts.first == 0:
                tokens = insert(tokens, prompts.layers[0], end)
            tokens = self.vision_model.pre_layrnorm(tokens)
        tokens = run(tokens, self.layers, prompts, end, start=state.layer)
        norm = self.vision_model.post_layernorm
        hidden = norm(tokens[:, 0].float())  # (B, W)
        return ImageFeatures(self.projection(hidden), hidden, lambda: self.projection(norm(tokens[:, 1:end].float())))


class ClipTextTower(nn.Module):
    """Causal transformer read at the end token: `text_model` and `text_projection` of a CLIP checkpoint."""

    def __init__(self, text_model: Any, projection: nn.Linear) -> None:
        super().__init__()
        self.text_model, self.projection = text_model, projection
        self.width: int = text_model.config.hidden_size
        self.layers = [_causal(layer) for layer in text_model.encoder.layers]
        self.exact = (text_model.final_layer_norm, projection)

    def forward(self, tokens: TokenBatch, prompts: Prompts | None, token_weights: Tensor | None) -> TextFeatures:
        """Encodes [start] prompts words [end]; nothing after the end token can influence it, so padding needs no mask."""
        words = weighted_words(self.text_model.embeddings.token_embedding(tokens.ids), token_weights)  # (B, N, W)
        if prompts is not None and prompts.first == 0:
            words = insert(words, prompts.layers[0], 1)
        hidden = words + self.text_model.embeddings.position_embedding.weight[: words.shape[1]]
        hidden = run(hidden, self.layers, prompts, 1)
        hidden = remove(hidden, prompts.count if prompts is not None else 0, 1)  # (B, N, W)
        norm = self.text_model.final_layer_norm
        pooled = norm(hidden[torch.arange(len(hidden), device=hidden.device), tokens.lengths - 1].float())  # (B, W)
        return TextFeatures(self.projection(pooled), pooled, lambda: self.projection(norm(hidden.float())))


def weighted_words(words: Tensor, token_weights: Tensor | None) -> Tensor:
    """(B, N, W) word embeddings times (B, N) token weights (DCAR eq. 14)."""
    return words if token_weights is None else words * token_weights.unsqueeze(-1).to(words.dtype)


def check_size(image_size: int, patch_size: int) -> None:
    """Raises `BackboneError` where `image_size` is not a multiple of the patch size, naming the nearest that are."""
    if image_size < patch_size or image_size % patch_size:
        below = max(image_size // patch_size, 1) * patch_size
        raise BackboneError(
            f"image_size {image_size} is not a multiple of this backbone's patch size {patch_size}. "
            f"Use {below} or {below + patch_size}."
        )


def resize_positions(embeddings: Any, side: int) -> None:
    """Interpolates the position embeddings of a CLIP image tower to a grid of `side` x `side` patches, in place."""
    weight = embeddings.position_embedding.weight.detach()
    old = int((len(weight) - 1) ** 0.5)
    grid = weight[1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, W, h, w)
    grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    positions = torch.cat([weight[:1], grid.flatten(2)[0].T.to(weight.dtype)])
    embeddings.position_embedding = nn.Embedding.from_pretrained(positions)
    embeddings.num_patches, embeddings.num_positions = side**2, side**2 + 1
    embeddings.position_ids = torch.arange(side**2 + 1)[None]


def _bidirectional(layer: Any) -> Any:
    return lambda tokens: layer(tokens, None, is_causal=False)


def _causal(layer: Any) -> Any:
    return lambda tokens: layer(tokens, None, is_causal=True)
