"""The two towers of CLIP, run layer by layer on `transformers` modules so that prompts can go in anywhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from crosscue.backbones.prefix_trees import ends_of_layer, shareable, token_trees, tree_layer
from crosscue.backbones.prompting import arrange, enter, insert, remove, run, word_order
from crosscue.backbones.protocol import ImageFeatures, ImageState, Prompts, TextFeatures, TokenBatch
from crosscue.backbones.token_weights import TokenWeights, attention_scores, attentive, weighted_words
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
        self.last = vision_model.encoder.layers[-1]
        self.exact: tuple[Any, ...] = (vision_model.post_layernorm, projection)

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 1 + P, W), positions added, before the first norm."""
        embeddings = self.vision_model.embeddings
        patches = embeddings.patch_embedding(pixels.to(embeddings.patch_embedding.weight.dtype))  # (B, W, h, w)
        patches = patches.flatten(2).transpose(1, 2)  # (B, P, W)
        token = embeddings.class_embedding.expand(patches.shape[0], 1, -1)
        return torch.cat([token, patches], dim=1) + embeddings.position_embedding.weight

    def state(self, pixels: Tensor, until_layer: int) -> ImageState:
        """Runs the layers before `until_layer` without prompts."""
        tokens = self.embed(pixels)
        if until_layer > 0:
            tokens = run(self.first_norm(tokens), self.layers, None, 0, stop=until_layer)
        return ImageState(tokens, until_layer)

    def first_norm(self, tokens: Tensor) -> Tensor:
        """The norm between the embeddings and layer 0."""
        normed: Tensor = self.vision_model.pre_layrnorm(tokens)
        return normed

    def forward(self, state: ImageState, prompts: Prompts | None) -> ImageFeatures:
        """Runs the layers from `state.layer` on, with prompts after the patches."""
        tokens, end = state.tokens, state.tokens.shape[1]
        if state.layer == 0:
            if prompts is not None and prompts.first == 0:
                tokens = insert(tokens, prompts.layers[0], end)
            tokens = tokens if state.entered else self.first_norm(tokens)
        norm, last = self.vision_model.post_layernorm, len(self.layers) - 1
        if state.layer > last:
            hidden = norm(tokens[:, 0].float())  # (B, W)
            return ImageFeatures(self.projection(hidden), hidden, lambda: self.projection(norm(tokens[:, 1:].float())))
        tokens = run(tokens, self.layers, prompts, end, start=state.layer, stop=last)
        tokens = enter(tokens, prompts, last, end)  # the input of the last layer
        start = torch.zeros(tokens.shape[0], dtype=torch.int64, device=tokens.device)
        hidden = norm(at_position(self.last, tokens, start).float())  # (B, W)

        def patches() -> Tensor:
            return self.projection(norm(self.layers[last](tokens)[:, 1:end].float()))

        def dense() -> Tensor:
            return self.projection(norm(without_mixing(self.last, tokens[:, 1:end]).float()))

        return ImageFeatures(self.projection(hidden), hidden, patches, dense)


class ClipTextTower(nn.Module):
    """Causal transformer read at the end token: `text_model` and `text_projection` of a CLIP checkpoint."""

    def __init__(self, text_model: Any, projection: nn.Linear) -> None:
        super().__init__()
        self.text_model, self.projection = text_model, projection
        self.width: int = text_model.config.hidden_size
        self.layers = [_causal(layer) for layer in text_model.encoder.layers]
        self.last = text_model.encoder.layers[-1]
        self.exact = (text_model.final_layer_norm, projection)

    def forward(self, tokens: TokenBatch, prompts: Prompts | None, token_weights: TokenWeights | None) -> TextFeatures:
        """Encodes [start] prompts words [end]; nothing after the end token can influence it, so padding needs no mask."""
        if token_weights is None and shareable(tokens, prompts):
            return self.in_trees(tokens, prompts)
        words = weighted_words(self.text_model.embeddings.token_embedding(tokens.ids), token_weights)  # (B, N, W)
        if prompts is not None and prompts.first == 0:
            words = insert(words, prompts.layers[0], 1)
        order = word_order(prompts, tokens.content.sum(1), words.shape[1], 1)
        hidden = arrange(words, order) + self.text_model.embeddings.position_embedding.weight[: words.shape[1]]
        norm, last, count = self.text_model.final_layer_norm, len(self.layers) - 1, prompts.count if prompts else 0
        layers = attentive(self.layers, token_weights, order, 1, causal=True)
        hidden = enter(run(hidden, layers, prompts, 1, stop=last), prompts, last, 1)  # the input of the last layer
        bias = None
        if token_weights is not None and token_weights.place == "attention":
            bias = attention_scores(token_weights, order, hidden.shape[1], 1)
        pooled = norm(
            at_position(self.last, hidden, tokens.lengths - 1 + count, causal=True, bias=bias).float()
        )  # (B, W)

        def words_read() -> Tensor:
            read = layers[last](hidden)
            read = arrange(read, None if order is None else order.argsort(1))
            return self.projection(norm(remove(read, count, 1).float()))

        return TextFeatures(self.projection(pooled), pooled, words_read)

    def in_trees(self, tokens: TokenBatch, prompts: Prompts | None) -> TextFeatures:
        """Encodes texts with their common beginnings once; see `prefix_trees`."""
        embeddings, norm, last = self.text_model.embeddings, self.text_model.final_layer_norm, len(self.layers) - 1
        encoder, count = self.text_model.encoder.layers, prompts.count if prompts is not None else 0
        trees = token_trees(tokens, count)
        rows = trees.enter(embeddings.token_embedding(trees.ids), prompts, 0)  # (T, W)
        rows = rows + embeddings.position_embedding(trees.column)
        for index in range(last):
            rows = tree_layer(encoder[index], trees.enter(rows, prompts, index) if index else rows, trees)
        rows = trees.enter(rows, prompts, last) if last else rows
        pooled = norm(ends_of_layer(self.last, rows, trees).float())  # (B, W)

        def words_read() -> Tensor:
            read = self.projection(norm(tree_layer(self.last, rows, trees).float()))  # (T, D)
            return remove(read[trees.nodes], count, 1)  # (B, N, D)

        return TextFeatures(self.projection(pooled), pooled, words_read)


def at_position(
    layer: Any, tokens: Tensor, position: Tensor, *, causal: bool = False, bias: Tensor | None = None
) -> Tensor:
    """The output of a layer at one position of every sample, for the price of its keys and values.

    The pooled feature of CLIP is read at one position, so that is all of the last layer one needs.

    Args:
        layer: a `CLIPEncoderLayer`.
        tokens: (B, S, W) its input.
        position: (B,) where to read.
        causal: the position sees itself and what stands before it; otherwise it sees everything.
        bias: (B, 1, 1, S) added to the attention scores.

    Returns:
        (B, W).
    """
    attention, rows = layer.self_attn, torch.arange(tokens.shape[0], device=tokens.device)
    normed = layer.layer_norm1(tokens)  # (B, S, W)

    def heads(vectors: Tensor) -> Tensor:
        return vectors.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)  # (B, H, S, W / H)

    query = heads(attention.q_proj(normed[rows, position])[:, None])  # (B, H, 1, W / H)
    seen = torch.arange(tokens.shape[1], device=tokens.device) <= position[:, None] if causal else None  # (B, S)
    mask = seen[:, None, None] if seen is not None else None
    if bias is not None:
        mask = (bias if mask is None else bias.masked_fill(~mask, float("-inf"))).to(tokens.dtype)
    key, value = heads(attention.k_proj(normed)), heads(attention.v_proj(normed))
    read = scaled_dot_product_attention(query, key, value, mask, scale=attention.scale)  # (B, H, 1, W / H)
    token = tokens[rows, position] + attention.out_proj(read[:, :, 0].flatten(1))
    return token + layer.mlp(layer.layer_norm2(token))  # (B, W)


def without_mixing(layer: Any, tokens: Tensor) -> Tensor:
    """The output of a layer in which every position attends to itself alone (FineCLIP's dense map). (B, S, W) -> (B, S, W)."""
    attention = layer.self_attn
    tokens = tokens + attention.out_proj(attention.v_proj(layer.layer_norm1(tokens)))
    return tokens + layer.mlp(layer.layer_norm2(tokens))


def fold_quick_gelu(tower: nn.Module) -> None:
    """Turns x * sigmoid(1.702 x) into SiLU, which is one fused operation, by folding 1.702 into the frozen weights around it.

    silu(1.702 x) = 1.702 * (x * sigmoid(1.702 x)), so the first linear map is scaled up and the second down.
    """
    from transformers.activations import QuickGELUActivation
    from transformers.models.clip.modeling_clip import CLIPMLP

    for module in tower.modules():
        if isinstance(module, CLIPMLP) and isinstance(module.activation_fn, QuickGELUActivation):
            for parameter in module.fc1.parameters():
                parameter.data *= 1.702
            module.fc2.weight.data /= 1.702
            module.activation_fn = nn.SiLU()


def check_size(image_size: int, patch_size: int) -> None:
    """Raises `BackboneError` where `image_size` is not a multiple of the patch size, naming the nearest that are."""
    if image_size < patch_size or image_size % patch_size:
        below = max(image_size // patch_size, 1) * patch_size
        raise BackboneError(
            f"image_size {image_size} is not a multiple of this backbone's patch size {patch_size}. "
            f"Use {below} or {below + patch_size}."
        )


def resize_positions(embeddings: Any, side: int) -> None:
    """Interpolates the position embeddings of a CLIP image tower to a grid of `side` x `side` patches, in place.

    A larger grid is what `transformers` makes (bicubic); a smaller one is also antialiased, which keeps more recall.
    """
    weight = embeddings.position_embedding.weight.detach()
    old = int((len(weight) - 1) ** 0.5)
    grid = weight[1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, W, h, w)
    grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False, antialias=side < old)
    positions = torch.cat([weight[:1], grid.flatten(2)[0].T.to(weight.dtype)])
    embeddings.position_embedding = nn.Embedding.from_pretrained(positions)
    embeddings.num_patches, embeddings.num_positions = side**2, side**2 + 1
    embeddings.position_ids = torch.arange(side**2 + 1)[None]


def _bidirectional(layer: Any) -> Any:
    return partial(layer, attention_mask=None, is_causal=False)  # a copy of the tower has the copied layer in it


def _causal(layer: Any) -> Any:
    return partial(layer, attention_mask=None, is_causal=True)
