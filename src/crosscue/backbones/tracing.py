"""Internals of one pass through an image tower: what its last attentions read, and the token that is read in the end.

Letters in shape comments: S positions (class token where there is one, patches, prompts), W width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from crosscue.backbones.protocol import Backbone
from crosscue.backbones.siglip import SiglipImageTower
from crosscue.backbones.towers import TwoTowers
from crosscue.errors import BackboneError


@dataclass
class Trace:
    """Record of one image."""

    token: Tensor = field(default_factory=lambda: torch.empty(0))
    """(1, W) float32 leaf: the class token before the last norm, or what SigLIP's pooling head reads. Scores have its gradient."""
    reads: list[Callable[[Tensor], Tensor]] = field(default_factory=list)
    """One function an attention: (W,) gradient of a score by `token` -> (S,) part of the score that each position adds."""
    first_patch: int = 1
    """Position of the first patch."""


@contextmanager
def traced(backbone: Backbone, layers: int) -> Iterator[Trace]:
    """Yields a trace that the next image of one row fills, with the last `layers` attentions (SigLIP: its pooling head).

    Raises:
        BackboneError: the backbone is not one of the built-in families.
    """
    if not isinstance(backbone, TwoTowers):
        raise BackboneError(f"'{backbone.source}' cannot be traced: it is not one of the built-in families.")
    tower, trace = backbone.image, Trace()
    with ExitStack() as hooks:
        if isinstance(tower, SiglipImageTower):
            trace.first_patch = 0
            hooks.enter_context(_hook(tower.vision_model.head.attention, _read_by_the_head(trace)))
        else:
            for layer in tower.vision_model.encoder.layers[-layers:]:
                hooks.enter_context(_hook(layer.layer_norm1, _read_by_a_layer(trace, layer.self_attn)))
            handle = tower.vision_model.post_layernorm.register_forward_pre_hook(_leaf(trace))
            hooks.callback(handle.remove)
        yield trace


def _leaf(trace: Trace) -> Any:
    """Returns a hook that makes the first input of the last norm a leaf; patches pass it later, unchanged."""

    def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if trace.token.numel():
            return None
        trace.token = inputs[0].detach().float().requires_grad_(True)
        return (trace.token,)

    return hook


def _read_by_a_layer(trace: Trace, attention: Any) -> Any:
    """Returns a hook on the norm before an attention, whose class token reads all positions."""

    def hook(module: Any, inputs: tuple[Tensor, ...], normed: Tensor) -> None:
        heads, width = attention.num_heads, attention.head_dim
        with torch.no_grad():
            query = attention.q_proj(normed[:, :1])[0].unflatten(-1, (heads, width)).float()  # (1, H, W / H)
            key = attention.k_proj(normed)[0].unflatten(-1, (heads, width)).float()  # (S, H, W / H)
            value = attention.v_proj(normed)[0].unflatten(-1, (heads, width)).float()
            weights = (attention.scale * (key * query).sum(-1)).softmax(0)  # (S, H)
        trace.reads.append(lambda gradient: _added(weights, value, attention.out_proj, gradient))

    return hook


def _read_by_the_head(trace: Trace) -> Any:
    """Returns a hook on SigLIP's pooling attention, whose probe reads all patches; its output becomes the leaf."""

    def hook(module: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
        probe, patches, _ = inputs
        heads = module.num_heads
        with torch.no_grad():
            weight, bias = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
            query = (probe[0] @ weight[0].T + bias[0]).unflatten(-1, (heads, -1))  # (1, H, W / H)
            key = (patches[0] @ weight[1].T + bias[1]).unflatten(-1, (heads, -1))  # (S, H, W / H)
            value = (patches[0] @ weight[2].T + bias[2]).unflatten(-1, (heads, -1))
            weights = ((key * query).sum(-1) / key.shape[-1] ** 0.5).softmax(0)  # (S, H)
        trace.reads.append(lambda gradient: _added(weights, value, module.out_proj, gradient))
        trace.token = output[0][:, 0].detach().requires_grad_(True)
        return trace.token[:, None], output[1]

    return hook


def _added(weights: Tensor, value: Tensor, projection: Any, gradient: Tensor) -> Tensor:
    """Returns (S,) the part of a score that each position adds: attention x value, through the output projection.

    Args:
        weights: (S, H) attention of the reading token.
        value: (S, H, W / H).
        projection: (W,) -> (W,), linear up to its bias.
        gradient: (W,) of the score by the token.
    """
    with torch.enable_grad():
        read = torch.zeros_like(gradient, dtype=next(projection.parameters()).dtype, requires_grad=True)
        back = torch.autograd.grad(projection(read), read, gradient.to(read.dtype))[0].float()  # (W,) W_O^T G
    return ((value * back.view(value.shape[1:])).sum(-1) * weights).sum(-1)


@contextmanager
def _hook(module: Any, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
