"""Trained modules of action-aware prompt tuning: triplet encoder, prompt adapter, adaptive interaction (ACT section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from crosscue.backbones.attention import attention_copy
from crosscue.backbones.protocol import Backbone
from crosscue.methods.action.knowledge import KnowledgeBatch

TripletInput = Literal["seq3", "concat_linear", "all_tokens"]
HEAD_WIDTH = 64
SLOTS = 3


class TripletEncoder(nn.Module):
    """From the word embeddings of a triplet's subject, action and object to its prompt (eq. 4-5).

    seq3        three pieces a triplet, one for each part, read together with those of all triplets of the caption
    all_tokens  the same with every word piece
    concat_linear  the three parts joined by a linear map, one piece a triplet
    """

    def __init__(self, text_width: int, width: int, most: int, layers: int, form: TripletInput, indexed: bool) -> None:
        super().__init__()
        self.form = form
        self.widen = nn.Linear(text_width, width) if text_width != width else nn.Identity()
        self.joined = nn.Linear(SLOTS * width, width) if form == "concat_linear" else None
        self.slots = nn.Parameter(0.02 * torch.randn(SLOTS, width)) if self.joined is None else None
        self.indices = nn.Parameter(0.02 * torch.randn(most, width)) if indexed else None
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, head_count(width), 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, batch: KnowledgeBatch) -> Tensor:
        """Knowledge of C captions with at least one triplet each -> p_t (C, K, D) (ACT eq. 5); zeros where there is no triplet."""
        pieces = self.widen(batch.pieces)  # e (C, L, D)
        count = batch.present.shape[1]
        triplets = torch.arange(count, device=pieces.device)
        if self.joined is not None:
            slot = batch.slot[:, None, None] == torch.arange(SLOTS, device=pieces.device)[:, None]  # (C, 1, 3, L)
            belongs = (batch.triplet[:, None] == triplets[:, None])[:, :, None] & slot  # (C, K, 3, L)
            pieces = self.joined(torch.einsum("cksl,cld->cksd", belongs.float(), pieces).flatten(2))  # (C, K, D)
            number = triplets.expand(len(pieces), -1).masked_fill(~batch.present, -1)  # (C, K)
        else:
            assert self.slots is not None
            pieces, number = pieces + self.slots[batch.slot], batch.triplet
        if self.indices is not None:
            pieces = pieces + self.indices[number.clamp(min=0)]
        read = self.layers(self.norm(pieces), src_key_padding_mask=number < 0)  # (C, L, D)
        own = (number[:, None] == triplets[:, None]).float()  # (C, K, L)
        return own @ read.nan_to_num() / own.sum(-1, keepdim=True).clamp(min=1)


class PromptAdapter(nn.Module):
    """From the text tower's width to the image tower's, through a bottleneck (eq. 6)."""

    def __init__(self, width: int, bottleneck: int, image_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck, bias=False)
        self.up = nn.Linear(bottleneck, image_width, bias=False)

    def forward(self, prompts: Tensor) -> Tensor:
        """(..., D) -> (..., W) (ACT eq. 6)."""
        adapted: Tensor = self.up(self.down(self.norm(prompts)).relu())
        return adapted


class AdaptiveInteraction(nn.Module):
    """AIM: patches attend to the action prompts, then to one another (eq. 7-8).

    Both attentions have the residuals of a transformer layer, so that image content passes:

        P_x = N(E) + CrossAttn(N(E), N(p_x)),   V_x = P_x + SelfAttn(P_x)

    N and the self-attention start as those of the frozen layer, so that attention maps have structure from the start.

    Args:
        backbone: its frozen image layer `layer` is where N and the self-attention start.
        layer: the layer whose input the module changes.
        kinds: the kinds of prompts: triplets, states, or both.
        mixing: lambda of eq. 8, the share of the triplets' attention map.
        beside: the values of the patches stand beside their mixtures.
        share: one set of attention weights for both kinds.
        reverse: prompts attend to patches instead, which leaves as many tokens as there are prompts.
        closed: the last layer of the MLP starts at zero, so that the untrained output is zero.
    """

    def __init__(
        self,
        backbone: Backbone,
        layer: int,
        kinds: tuple[str, ...],
        mixing: float,
        *,
        beside: bool = True,
        share: bool = False,
        reverse: bool = False,
        closed: bool = True,
    ) -> None:
        super().__init__()
        self.kinds, self.beside, self.share, self.reverse = kinds, beside, share, reverse
        self.mixing = mixing if len(kinds) == 2 else float("triplets" in kinds)
        width, sets = backbone.image_width, ("both",) if share else kinds
        heads = head_count(width)
        self.norm, _ = attention_copy(backbone, layer)
        self.cross = nn.ModuleDict({name: nn.MultiheadAttention(width, heads, batch_first=True) for name in sets})
        self.within = nn.ModuleDict({name: attention_copy(backbone, layer)[1] for name in sets})
        last = nn.Linear(width, width)
        if closed:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), last)

    def forward(self, patches: Tensor, prompts: dict[str, Tensor], present: Tensor) -> Tensor:
        """Returns the action-aware features of ACT eq. 8.

        Args:
            patches: (B, M, W) E.
            prompts: p_t and p_s by kind, (B, n, W) each.
            present: (B, n) bool, true at a prompt; at least one in every row.

        Returns:
            (B, M, W), or (B, n, W) with `reverse`.
        """
        values, attention = self.attend(patches, prompts, present)
        own: Tensor = self.mlp(values)
        mixed = attention @ own
        return own + mixed if self.beside else mixed

    def attend(self, patches: Tensor, prompts: dict[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Returns [V_t; V_s] (B, M, 2 W) of ACT eq. 7 and lambda A_t + (1 - lambda) A_s (B, M, M), whose rows sum to 1."""
        normed, absent = self.norm(patches), ~present
        values: dict[str, Tensor] = {}
        attention = None
        for kind in self.kinds:
            name = "both" if self.share else kind
            scaled = self.norm(prompts[kind])  # at the scale of the patches
            if self.reverse:
                read = scaled + self.cross[name](scaled, normed, normed, need_weights=False)[0]
                own, weights = self.within[name](read, read, read, key_padding_mask=absent)
            else:
                read = normed + self.cross[name](normed, scaled, scaled, absent, need_weights=False)[0]
                own, weights = self.within[name](read, read, read)  # (B, M, W), A (B, M, M) averaged over heads
            weighted = (self.mixing if kind == "triplets" else 1 - self.mixing) * weights
            values[kind], attention = read + own, weighted if attention is None else attention + weighted
        assert attention is not None
        none = torch.zeros_like(next(iter(values.values())))  # in place of a kind that is off
        return torch.cat([values.get("triplets", none), values.get("states", none)], dim=-1), attention


def head_count(width: int) -> int:
    """Returns the number of attention heads: about 64 numbers a head, and a divisor of the width."""
    return next(heads for heads in range(max(width // HEAD_WIDTH, 1), 0, -1) if width % heads == 0)
