"""Parts of a backbone of every family: an image tower, a text tower, one precision, one tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosscue.backbones.clip_towers import fold_quick_gelu
from crosscue.backbones.precision import Precision
from crosscue.backbones.protocol import (
    Backbone,
    ImageFeatures,
    ImageInput,
    ImageState,
    PixelSpec,
    Prompts,
    TextFeatures,
    TokenBatch,
    fingerprint,
)
from crosscue.backbones.rows import WHOLE, Rows
from crosscue.backbones.token_weights import TokenWeights
from crosscue.backbones.tokenizing import Tokenizer


class TwoTowers(Backbone):
    """A backbone made of an image tower and a text tower; families differ in what the towers are."""

    rows: Rows = WHOLE

    def __init__(
        self,
        image: Any,
        text: Any,
        tokenizer: Tokenizer,
        pixels: PixelSpec,
        precision: Precision,
        embed_dim: int,
    ) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.tokenizer: Tokenizer = tokenizer
        self.pixels, self.precision, self.embed_dim = pixels, precision, embed_dim
        self.image_width, self.text_width = image.width, text.width
        self.image_layers, self.text_layers = len(image.layers), len(text.layers)
        self.patch_count, self.context_length = image.patch_count, tokenizer.max_length

    def freeze(self) -> None:
        """Hashes the weights as the checkpoint holds them, then turns the towers to their precision.

        QuickGELU becomes SiLU on the way, the same function to rounding. The parts after the last layer (`exact`: norm, pooling, projection) stay in float32: they are cheap, and scores are made of
        them.
        """
        self.requires_grad_(False).eval()
        self.checkpoint = self.fingerprint()
        self.image_checkpoint = fingerprint(self.image.vision_model)
        projection = fingerprint(self.image.projection) if hasattr(self.image, "projection") else ""
        self.feature_checkpoint = hashlib.sha256(f"{self.image_checkpoint} {projection}".encode()).hexdigest()
        fold_quick_gelu(self)
        self.image.to(self.precision.dtype)
        self.text.to(self.precision.dtype)
        for module in (*self.image.exact, *self.text.exact):
            module.float()

    def tokenize(self, texts: Sequence[str], prompt_count: int = 0) -> TokenBatch:
        """See `Backbone.tokenize`."""
        return self.tokenizer(texts, prompt_count, self.device)

    def room(self, prompt_count: int = 0) -> int:
        """See `Backbone.room`."""
        return self.tokenizer.room(prompt_count)

    def token_count(self, text: str) -> int:
        """See `Backbone.token_count`."""
        return len(self.tokenizer.content([text])[0])

    def encode_text(
        self, tokens: TokenBatch, prompts: Prompts | None = None, token_weights: TokenWeights | None = None
    ) -> TextFeatures:
        """See `Backbone.encode_text`."""
        return self.rows.texts(self.text, tokens, prompts, token_weights)

    def image_state(self, pixels: Tensor, until_layer: int) -> ImageState:
        """See `Backbone.image_state`; layers in which nothing is learned record no gradients."""
        return self.rows.state(lambda part: self._state(part, until_layer), pixels, until_layer)

    def _state(self, pixels: Tensor, until_layer: int) -> ImageState:
        state: ImageState = self.image.state(self.normalise(pixels), until_layer)
        return state

    def image_entry(self, images: Tensor | ImageState) -> ImageState:
        """See `Backbone.image_entry`."""
        state = images if isinstance(images, ImageState) else self.image_state(images, 0)
        with torch.no_grad():
            return state if state.entered else ImageState(self.image.first_norm(state.tokens), 0, entered=True)

    def encode_image(self, images: ImageInput, prompts: Prompts | None = None) -> ImageFeatures:
        """See `Backbone.encode_image`."""
        first = self.image_layers - 1 if prompts is None else prompts.first
        if isinstance(images, ImageFeatures):
            if prompts is not None:
                raise ValueError(
                    f"prompts enter at layer {first}, the cached features are the output of the whole tower"
                )
            return images
        if prompts is not None and isinstance(images, ImageState) and images.layer > first:
            raise ValueError(f"prompts enter at layer {first}, the cached state is the input of layer {images.layer}")

        def encode(some: Tensor | ImageState, prompts: Prompts | None) -> ImageFeatures:
            state = some if isinstance(some, ImageState) else self._state(some, first)
            features: ImageFeatures = self.image(state, prompts)
            return features

        return self.rows.images(encode, images, prompts)
