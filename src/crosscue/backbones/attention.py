"""Trainable copies of the attention of a frozen image layer."""

from __future__ import annotations

import torch
from torch import nn

from crosscue.backbones.protocol import Backbone
from crosscue.backbones.towers import TwoTowers
from crosscue.errors import BackboneError


def attention_copy(backbone: Backbone, layer: int) -> tuple[nn.LayerNorm, nn.MultiheadAttention]:
    """Returns new float32 modules that start as the first norm and the self-attention of an image layer.

    Raises:
        BackboneError: the backbone is not made of two towers of `transformers`.
    """
    if not isinstance(backbone, TwoTowers):
        raise BackboneError(
            f"the layers of '{backbone.source}' cannot be copied: it is not one of the built-in families."
        )
    frozen = backbone.image.vision_model.encoder.layers[layer]
    own, width = frozen.self_attn, backbone.image_width
    norm = nn.LayerNorm(width, frozen.layer_norm1.eps)
    norm.load_state_dict(frozen.layer_norm1.state_dict())
    attention = nn.MultiheadAttention(width, own.num_heads, batch_first=True)
    projections = (own.q_proj, own.k_proj, own.v_proj)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        attention.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
        attention.out_proj.load_state_dict(own.out_proj.state_dict())
    return norm, attention
