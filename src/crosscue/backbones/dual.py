"""Family `dual`: a CLIP image tower and a sentence encoder, joined by a bridge.

A folder of this family holds `crosscue_backbone.json`, `image/` (a `CLIPVisionModelWithProjection`), `text/` (a BERT-like
sentence encoder with its tokenizer) and `bridge.safetensors`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from crosscue.backbones.bridge import Bridge
from crosscue.backbones.clip_towers import ClipImageTower
from crosscue.backbones.packing import Grid, pack, spread
from crosscue.backbones.precision import Precision
from crosscue.backbones.prompting import arrange, insert, run, word_order
from crosscue.backbones.protocol import ImageFeatures, ImageState, PixelSpec, Prompts, TextFeatures, TokenBatch
from crosscue.backbones.token_weights import TokenWeights, WeightsPlace, attention_scores, weighted_words
from crosscue.backbones.tokenizing import Tokenizer
from crosscue.backbones.towers import TwoTowers


class BridgedImageTower(ClipImageTower):
    """CLIP's image tower; its output crosses the bridge."""

    def __init__(self, model: Any, bridge: Bridge, image_size: int | None) -> None:
        super().__init__(model.vision_model, model.visual_projection, image_size)
        self.bridge = bridge
        self.exact: tuple[Any, ...] = (*self.exact, bridge)

    def unbridged(self, state: ImageState, prompts: Prompts | None) -> ImageFeatures:
        """Runs the layers from `state.layer` on; nothing crosses the bridge."""
        return super().forward(state, prompts)

    def forward(self, state: ImageState, prompts: Prompts | None) -> ImageFeatures:
        """Runs the layers from `state.layer` on; pooled, patch and dense features are bridged."""
        features = self.unbridged(state, prompts)
        return ImageFeatures(
            self.bridge.image(features.pooled),
            features.hidden,
            lambda: self.bridge.image(features.patches),
            lambda: self.bridge.image(features.dense),
        )


class SentenceTower(nn.Module):
    """Bidirectional BERT, mean-pooled over the real tokens, weighted where token weights act in the pooling.

    Prompts stand after the start token and are seen by every word. They are left out of the mean, so the pooled feature
    is an average over the same positions as without prompts.
    """

    def __init__(self, model: Any, bridge: Bridge) -> None:
        super().__init__()
        self.model, self.bridge = model, bridge
        self.width: int = model.config.hidden_size
        self.layers = list(model.encoder.layer)
        self.exact = (bridge,)

    def forward(self, tokens: TokenBatch, prompts: Prompts | None, token_weights: TokenWeights | None) -> TextFeatures:
        """Encodes [start] prompts words [end]."""
        embeddings = self.model.embeddings
        words = weighted_words(embeddings.word_embeddings(tokens.ids), token_weights)  # (B, N, W)
        if prompts is not None and prompts.first == 0:
            words = insert(words, prompts.layers[0], 1)
        order = word_order(prompts, tokens.content.sum(1), words.shape[1], 1)
        words = arrange(words, order) + embeddings.token_type_embeddings.weight[0]
        hidden = embeddings.LayerNorm(words + embeddings.position_embeddings.weight[: words.shape[1]])
        real = torch.arange(tokens.ids.shape[1], device=hidden.device) < tokens.lengths[:, None]  # (B, N)
        exporting = torch.compiler.is_exporting()
        padded = exporting or bool((~real).any())
        count = prompts.count if prompts is not None else 0
        seen: TokenWeights | None = None  # weights that act in the attention; padding weighs 0
        if token_weights is not None and token_weights.place == "attention":
            seen = replace(token_weights, values=token_weights.values.where(real, 0.0))

        def mask(positions: int, dtype: torch.dtype) -> Tensor | None:
            if seen is not None:
                return attention_scores(seen, order, positions, 1).to(dtype)
            return _visible(real, positions - real.shape[1]) if padded else None

        def layer(index: int) -> Any:
            def call(sequence: Tensor) -> Tensor:
                out: Tensor = self.layers[index](sequence, mask(sequence.shape[1], sequence.dtype))
                return out

            return call

        if padded and not exporting and hidden.device.type == "cpu" and (prompts is None or prompts.first == 0):
            hidden = self._packed(hidden, tokens.lengths + count, prompts, mask(hidden.shape[1], hidden.dtype))
        else:
            hidden = run(hidden, [layer(index) for index in range(len(self.layers))], prompts, 1)
        hidden = arrange(hidden, None if order is None else order.argsort(1))
        hidden = torch.cat([hidden[:, :1], hidden[:, 1 + count :]], dim=1)  # (B, N, W) without prompts
        share = real / tokens.lengths[:, None]  # (B, N)
        if token_weights is not None and token_weights.place == "pooling":
            share = share * token_weights.values
            share = share / share.sum(1, keepdim=True)
        pooled = (hidden.float() * share.unsqueeze(-1)).sum(1)  # (B, W)
        return TextFeatures(self.bridge.text(pooled), pooled, lambda: self.bridge.text(hidden.float()))

    def _packed(self, hidden: Tensor, lengths: Tensor, prompts: Prompts | None, mask: Tensor | None) -> Tensor:
        """Runs the layers on (B, S, W) with linear maps on real positions alone; the others become 0."""
        grid = Grid.of_lengths(lengths, hidden.shape[1])
        rows = pack(hidden, grid)  # (T, W)
        for index, layer in enumerate(self.layers):
            if prompts is not None and index and index in prompts.layers:
                own = prompts.layers[index].to(rows.dtype).expand(len(hidden), -1, -1)
                places = (lengths.cumsum(0) - lengths)[:, None] + 1 + torch.arange(prompts.count)  # (B, n)
                rows = rows.index_copy(0, places.flatten(), own.flatten(0, 1))
            rows = packed_layer(layer, rows, grid, mask)
        return spread(rows, grid)


def packed_layer(layer: Any, rows: Tensor, grid: Grid, mask: Tensor | None) -> Tensor:
    """The output of a `BertLayer` at real positions: (T, W) -> (T, W)."""
    attention = layer.attention.self

    def heads(vectors: Tensor) -> Tensor:
        split = (attention.num_attention_heads, attention.attention_head_size)
        return spread(vectors, grid).unflatten(-1, split).transpose(1, 2)  # (B, H, S, W / H)

    query, key, value = (heads(part(rows)) for part in (attention.query, attention.key, attention.value))
    read = scaled_dot_product_attention(query, key, value, mask, scale=attention.scaling)
    rows = layer.attention.output(pack(read.transpose(1, 2).flatten(2), grid), rows)
    out: Tensor = layer.feed_forward_chunk(rows)
    return out


class DualBackbone(TwoTowers):
    """The family of the starter: any sentence encoder can be bridged to any CLIP image tower."""

    family = "dual"
    weights_places: tuple[WeightsPlace, ...] = ("pooling", "input", "attention")
    packing = "rows"
    has_dense_map = True

    def __init__(
        self,
        image_model: Any,
        text_model: Any,
        bridge: Bridge,
        tokenizer: Any,
        max_length: int,
        pixels: PixelSpec,
        precision: Precision,
        image_size: int | None,
    ) -> None:
        """Takes a `CLIPVisionModelWithProjection`, a `BertModel` and the bridge between them."""
        super().__init__(
            BridgedImageTower(image_model, bridge, image_size),
            SentenceTower(text_model, bridge),
            Tokenizer(tokenizer, max_length),
            pixels,
            precision,
            bridge.size["embed_dim"],
        )

    @property
    def logit_scale(self) -> Tensor:
        """() exp of the bridge's logit scale."""
        scale: Tensor = self.text.bridge.log_scale
        return scale.detach().float().exp()

    def image_output(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels -> (B, D)."""
        return self.image.unbridged(self.image_state(images, self.image_layers - 1), None).pooled

    def bridged(self, output: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return self.image.bridge.image(output)

    def word_embedding(self, ids: Tensor) -> Tensor:
        """(...,) -> (..., W)."""
        return self.text.model.embeddings.word_embeddings(ids)


def _visible(real: Tensor, prompt_count: int) -> Tensor:
    """(B, N) bool -> (B, 1, 1, n + N) bool, true where attention may look: real tokens and prompts."""
    prompts = real.new_ones(real.shape[0], prompt_count)
    return torch.cat([real[:, :1], prompts, real[:, 1:]], dim=1)[:, None, None, :]
