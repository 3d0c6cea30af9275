"""Contract between a method and a pre-trained dual encoder: prompts go in, features come out.

Letters used in shape comments everywhere: B items, N text positions, P patches, n prompts, W tower width,
D embedding width.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from crosscue.backbones.precision import Precision
from crosscue.backbones.token_weights import TokenWeights, WeightsPlace
from crosscue.data.pixels import PixelSpec as PixelSpec
from crosscue.errors import BackboneError


@dataclass(frozen=True)
class Prompts:
    """Learned vectors to insert in a tower: `layers[i]` enters at the input of layer i.

    At the smallest layer index the n vectors are *inserted*. At every other index of the mapping the outputs of the
    n prompt positions are *replaced*. Where the mapping has no entry they are propagated. A tensor is (n, W), shared by
    the batch, or (B, n, W), one set per sample; n is the same at every layer.

    Layer 0 of a text tower is its word embedding: prompts stand after the start token and receive positions like words
    do. Layer 0 of an image tower is the input of its first norm: prompts follow the patches and have no position.
    Prompts that are first inserted at a later layer have no position in either tower.
    """

    layers: Mapping[int, Tensor]
    leading: int | None = None
    """Number of the n prompts before the words; the others stand after the last word. None is all. For prompts of
    layer 0 of a text tower only."""

    def __post_init__(self) -> None:
        if self.leading is not None and set(self.layers) != {0}:
            raise ValueError(f"prompts around the words stand at layer 0 only, not at layers {sorted(self.layers)}")

    @classmethod
    def of(cls, tensors: Sequence[Tensor], start_layer: int = 0) -> Prompts:
        """Returns prompts for consecutive layers from `start_layer` on: one tensor is shallow, several are deep."""
        return cls({start_layer + depth: tensor for depth, tensor in enumerate(tensors)})

    @property
    def first(self) -> int:
        """The layer at which the prompts are inserted."""
        return min(self.layers)

    @property
    def count(self) -> int:
        """n, the number of prompt positions."""
        return int(next(iter(self.layers.values())).shape[-2])


@dataclass(frozen=True)
class TokenBatch:
    """Tokenised texts, cropped to the longest of the batch where the tower allows it."""

    ids: Tensor
    """(B, N) token ids with the tower's special tokens, padded on the right."""
    lengths: Tensor
    """(B,) number of real tokens, special ones included; position `lengths - 1` is the end token."""
    content: Tensor
    """(B, N) bool: true for word pieces, false for special tokens and padding."""

    def __len__(self) -> int:
        return self.ids.shape[0]

    def to(self, device: torch.device | str) -> TokenBatch:
        """Returns the batch on another device."""
        return TokenBatch(self.ids.to(device), self.lengths.to(device), self.content.to(device))


@dataclass(frozen=True)
class ImageState:
    """The tokens of a batch of images at the input of a layer, without prompts: the frozen prefix, cacheable."""

    tokens: Tensor
    """(B, S, W) all tokens of the image tower (class token first where the tower has one)."""
    layer: int
    """The layer these tokens are the input of; the number of layers means the whole tower was run."""
    entered: bool = False
    """True at layer 0 if the tower's first norm is behind these tokens (`Backbone.image_entry`).
    Prompts that enter at layer 0 of such a state do not pass the norm."""

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, rows: Tensor) -> ImageState:
        """Returns the state of some of the images, or of one image several times: (b,) numbers."""
        return ImageState(self.tokens[rows], self.layer, self.entered)

    def to(self, device: torch.device | str) -> ImageState:
        """Returns the state on another device."""
        return ImageState(self.tokens.to(device), self.layer, self.entered)


@dataclass(frozen=True)
class ImageFeatures:
    """Output of an image tower; nothing is normalised."""

    pooled: Tensor
    """(B, D) in the shared space."""
    hidden: Tensor
    """(B, W) pooled feature before the projection."""
    patch_features: Callable[[], Tensor] = field(repr=False)
    dense_features: Callable[[], Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.pooled.shape[0]

    def to(self, device: torch.device | str) -> ImageFeatures:
        """Returns the features on another device."""
        return ImageFeatures(self.pooled.to(device), self.hidden.to(device), lambda: self.patch_features().to(device))

    @cached_property
    def patches(self) -> Tensor:
        """(B, P, D) patch tokens of the last layer, normed and projected like the pooled one; computed on first use."""
        return self.patch_features()

    @cached_property
    def dense(self) -> Tensor:
        """(B, P, D) like `patches`, but the last layer does not mix positions, so each one stands for its own place.

        Raises:
            BackboneError: the tower has no class token that its patches could do without, or the cached state is past its
                last layer.
        """
        if self.dense_features is None:
            raise BackboneError(
                "no dense map here: it needs an image tower shaped like CLIP's (families clip and dual) and pixels, or a "
                "cached state before the last layer."
            )
        return self.dense_features()


ImageInput = Tensor | ImageState | ImageFeatures
"""Images in any form an image tower takes: (B, 3, S, S) pixels, the cached output of its first layers, or of all of them."""


@dataclass(frozen=True)
class TextFeatures:
    """Output of a text tower; nothing is normalised."""

    pooled: Tensor
    """(B, D) in the shared space."""
    hidden: Tensor
    """(B, W) pooled feature before the projection."""
    token_features: Callable[[], Tensor] = field(repr=False)

    @cached_property
    def tokens(self) -> Tensor:
        """(B, N, D) token features of the last layer, aligned with `TokenBatch.ids` (prompts removed)."""
        return self.token_features()


class Backbone(nn.Module, ABC):
    """A frozen pre-trained dual encoder. Only subclasses depend on a model's internals.

    All outputs are float32. Gradients flow through the frozen towers to prompts and token weights.
    """

    family: str
    weights_places: tuple[WeightsPlace, ...] = ("input", "attention")
    """Places where token weights can act in the text tower, the default first."""
    packing: Literal["none", "rows", "trees"] = "none"
    """Padding of texts on a CPU. `none`: it is computed. `rows`: linear maps leave it out. `trees`: common beginnings too."""
    has_dense_map: bool = False
    """True if `ImageFeatures.dense` can be computed."""
    source: str
    """The name the user gave: `starter`, a Hub id, a local folder."""
    revision: str | None = None
    checkpoint: str
    """SHA-256 of the weights as loaded, before any change of dtype: the identity of a run's backbone."""
    image_checkpoint: str
    """The same of the image tower alone, without a bridge: the key of cached image states."""
    feature_checkpoint: str
    """The same of all that `image_output` depends on: the tower and its projection, without a bridge."""
    precision: Precision
    pixels: PixelSpec
    image_width: int
    text_width: int
    embed_dim: int
    image_layers: int
    text_layers: int
    patch_count: int
    context_length: int
    """Most text positions, special tokens and prompts included."""
    rows: Any
    """Rows that go through the towers in this process, and how many at once: a `crosscue.backbones.rows.Rows`."""

    @property
    @abstractmethod
    def logit_scale(self) -> Tensor:
        """() the multiplier of cosines, 1 / temperature, as pre-trained."""

    @property
    def logit_bias(self) -> Tensor:
        """() added to scaled cosines by sigmoid-trained families; zero elsewhere."""
        return torch.zeros((), device=self.device)

    @abstractmethod
    def tokenize(self, texts: Sequence[str], prompt_count: int = 0) -> TokenBatch:
        """Tokenises texts, leaving room for `prompt_count` prompts at layer 0.

        Words beyond the limit are dropped from the end; the end token is always there.

        Raises:
            MethodError: the prompts leave no room for words; the message names the largest possible count.
        """

    @abstractmethod
    def room(self, prompt_count: int = 0) -> int:
        """Returns the most word pieces of a text beside `prompt_count` prompts."""

    @abstractmethod
    def token_count(self, text: str) -> int:
        """Returns the number of word pieces of a text."""

    @abstractmethod
    def word_embedding(self, ids: Tensor) -> Tensor:
        """(...,) token ids -> (..., W) rows of the text tower's input embedding."""

    @abstractmethod
    def encode_text(
        self, tokens: TokenBatch, prompts: Prompts | None = None, token_weights: TokenWeights | None = None
    ) -> TextFeatures:
        """Encodes texts, with weights of their tokens at one of the `weights_places`."""

    @abstractmethod
    def image_state(self, pixels: Tensor, until_layer: int) -> ImageState:
        """Runs the image tower without prompts up to the input of `until_layer`. (B, 3, H, W), see `encode_image`."""

    @abstractmethod
    def image_entry(self, images: Tensor | ImageState) -> ImageState:
        """Returns the tokens that layer 0 reads, behind the tower's first norm: from pixels or a state of layer 0."""

    @abstractmethod
    def encode_image(self, images: ImageInput, prompts: Prompts | None = None) -> ImageFeatures:
        """Encodes images: uint8 pixels (normalised here), float pixels (taken as normalised), or a cached state.

        Cached features are returned as they are.

        Raises:
            ValueError: prompts enter before the layer of the given state, or cached features are given with prompts.
        """

    def image_output(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels -> (B, D) pooled features without a bridge: the rows of a bank of features."""
        return self.encode_image(images).pooled

    def bridged(self, output: Tensor) -> Tensor:
        """(B, D) `image_output` -> (B, D) in the shared space."""
        return output

    def shared_copy(self) -> Self:
        """Returns a backbone of new modules around the very same tensors: modules attached to it leave this one alone."""
        shared = {id(tensor): tensor for tensor in (*self.parameters(), *self.buffers())}
        return copy.deepcopy(self, shared)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 with the checkpoint's mean and deviation; float input is returned as is."""
        if pixels.dtype != torch.uint8:
            return pixels
        mean = torch.tensor(self.pixels.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.pixels.std, device=pixels.device).view(1, 3, 1, 1)
        return pixels.float().div_(255).sub_(mean).div_(std)  # in place: fresh memory costs more than the division

    def fingerprint(self) -> str:
        """Returns a SHA-256 over names, shapes and values of all weights as they are now."""
        return fingerprint(self)


def fingerprint(module: nn.Module) -> str:
    """Returns a SHA-256 over names, shapes and values of a module's weights."""
    return fingerprint_of_tensors(module.state_dict())


def fingerprint_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Returns a SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()
