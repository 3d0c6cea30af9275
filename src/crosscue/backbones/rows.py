"""Rows of a batch at the entry of a backbone: those of this process, and those that go through a tower at once.

Each process encodes its own rows, and everything outside the towers is computed alike on all of them. So three operators make the
gradients whole, and no method depends on the number of processes:

    prompts of all rows (n, W)                      as they are    | sum over the processes
    prompts, token weights, tokens of each row      own rows       | rows of all
    features (B, ...)                               rows of all    | own rows

Parameters inside a tower get the gradient of the own rows alone; `sum_gradients` adds the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crosscue.backbones.collectives import all_sum, gathered, own_rows, shared
from crosscue.backbones.protocol import (
    Backbone,
    ImageFeatures,
    ImageInput,
    ImageState,
    Prompts,
    TextFeatures,
    TokenBatch,
)
from crosscue.backbones.token_weights import TokenWeights

Features = TypeVar("Features", ImageFeatures, TextFeatures)
Operator = Callable[[Tensor], Tensor]
Encode = Callable[..., Any]
Reading = Callable[[Any], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Rows:
    """Rows of a batch that this process encodes, and the number of rows in one call of a tower."""

    rank: int = 0
    world: int = 1
    at_once: int | None = None
    """Rows of one tower call in a training step. More rows go in chunks, whose activations are computed again in the backward
    pass (GradCache). None: all rows at once, and nothing is computed twice."""

    @property
    def chunked(self) -> bool:
        """True where a tower call that records gradients is to be computed again in the backward pass."""
        return self.at_once is not None and torch.is_grad_enabled()

    def images(self, encode: Encode, images: ImageInput, prompts: Prompts | None) -> ImageFeatures:
        """Returns the features of all rows; `encode` (images, prompts) -> features of the rows it receives."""
        if self.world == 1 and not self.chunked:
            whole: ImageFeatures = encode(images, prompts)
            return whole
        call = Call(self, encode, len(images), (images, prompts))
        pooled, hidden, *_ = call(lambda features: (features.pooled, features.hidden))
        return ImageFeatures(
            pooled,
            hidden,
            lambda: call(lambda found: (found.patches,))[0],
            lambda: call(lambda found: (found.dense,))[0],
        )

    def texts(
        self, encode: Encode, tokens: TokenBatch, prompts: Prompts | None, weights: TokenWeights | None
    ) -> TextFeatures:
        """Returns the features of all rows; `encode` (tokens, prompts, weights) -> features of the rows it receives."""
        if self.world == 1 and not self.chunked:
            whole: TextFeatures = encode(tokens, prompts, weights)
            return whole
        call = Call(self, encode, len(tokens), (tokens, prompts, weights))
        pooled, hidden, *_ = call(lambda features: (features.pooled, features.hidden))
        return TextFeatures(pooled, hidden, lambda: call(lambda found: (found.tokens,))[0])

    def state(self, encode: Encode, pixels: Tensor, layer: int) -> ImageState:
        """Returns the state of all rows; `encode` (pixels) -> state of the rows it receives."""
        if self.world == 1 and not self.chunked:
            whole: ImageState = encode(pixels)
            return whole
        return ImageState(Call(self, encode, len(pixels), (pixels,))(lambda state: (state.tokens,))[0], layer)


WHOLE = Rows()
"""All rows on one process, at once."""


class Call:
    """One call of a tower. Its rows are taken once; features that are read later cost a second pass over them in chunks only."""

    def __init__(self, rows: Rows, encode: Encode, count: int, inputs: tuple[Any, ...]) -> None:
        self.rows, self.encode, self.count, self.inputs = rows, encode, count, inputs
        self.chunked = rows.chunked
        if rows.world > 1:
            self.inputs = tuple(mapped(each, self._own, shared) for each in inputs)
        self.kept: Any = None

    def __call__(self, read: Reading) -> tuple[Tensor, ...]:
        """Returns what `read` takes from the features, for the rows of all processes."""
        found = self._in_chunks(read) if self.chunked else read(self._encoded())
        if self.rows.world == 1:
            return found
        own = found[0] if len(found) == 1 else torch.cat(found, dim=-1)  # one exchange for all
        whole = gathered(own, self.rows.rank, self.rows.world, self.count)
        return whole.split([part.shape[-1] for part in found], dim=-1)

    def _encoded(self) -> Any:
        if self.kept is None:
            self.kept = self.encode(*self.inputs)
        return self.kept

    def _in_chunks(self, read: Reading) -> tuple[Tensor, ...]:
        size, rows = self.rows.at_once or 1, -(-self.count // self.rows.world)
        parts = [self._chunk(read, start, min(start + size, rows)) for start in range(0, rows, size)]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _chunk(self, read: Reading, start: int, stop: int) -> tuple[Tensor, ...]:
        def forward() -> tuple[Tensor, ...]:
            return read(self.encode(*(mapped(each, lambda rows: rows[start:stop], _same) for each in self.inputs)))

        found: tuple[Tensor, ...] = checkpoint(forward, use_reentrant=False, preserve_rng_state=False)
        return found

    def _own(self, rows: Tensor) -> Tensor:
        return own_rows(rows, self.rows.rank, self.rows.world)


def mapped(value: Any, each: Operator, shared: Operator) -> Any:
    """Returns an input of a tower with `each` applied to the tensors that have a row an item, and `shared` to the others."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        return each(value)
    if isinstance(value, ImageState):
        return replace(value, tokens=each(value.tokens))
    if isinstance(value, TokenBatch):
        return TokenBatch(each(value.ids), each(value.lengths), each(value.content))
    if isinstance(value, TokenWeights):
        return replace(value, values=each(value.values))
    assert isinstance(value, Prompts)
    own = {layer: (each if _of_rows(prompts) else shared)(prompts) for layer, prompts in value.layers.items()}
    return replace(value, layers=own)


@contextlib.contextmanager
def divided(module: nn.Module, rows: Rows) -> Iterator[None]:
    """Sets the rows of every backbone in a module for the time of the context, `WHOLE` for work of one process alone."""
    towers = [part for part in module.modules() if isinstance(part, Backbone)]
    before = [tower.rows for tower in towers]
    try:
        for tower in towers:
            tower.rows = rows
        yield
    finally:
        for tower, own in zip(towers, before, strict=True):
            tower.rows = own


def sum_gradients(module: nn.Module) -> None:
    """Adds the gradients of all processes, of the parameters that lie inside a tower and saw the own rows alone."""
    inside = {id(each): each for part in module.modules() if isinstance(part, Backbone) for each in part.parameters()}
    gradients = [each.grad for each in inside.values() if each.grad is not None]
    if gradients:
        flat = all_sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, total in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


def _of_rows(prompts: Tensor) -> bool:
    return prompts.dim() == 3 and len(prompts) > 1


def _same(tensor: Tensor) -> Tensor:
    return tensor
