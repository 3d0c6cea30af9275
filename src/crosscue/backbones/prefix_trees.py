"""Texts of a causal tower that begin alike: a common beginning is encoded once.

Texts are sorted, and each group of neighbours is a tree, whose nodes are tokens behind a common beginning. A node reads its
ancestors alone, so it is the same for all texts that pass through it. Linear maps run on the nodes; attention runs on groups,
which are padded to the largest one.

Letters in shape comments: T nodes, G groups, S nodes of the largest group, E texts of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from crosscue.backbones.packing import Grid, pack, spread
from crosscue.backbones.protocol import Prompts, TokenBatch

TEXTS = 8
"""Neighbours of a group: more share more of their beginnings, and attention pays for larger groups."""


@dataclass(frozen=True)
class TokenTrees:
    """B texts of N positions, those of the prompts among them, as trees."""

    ids: Tensor
    """(T,) token of each node; that of a prompt has no meaning."""
    column: Tensor
    """(T,) position of each node in its texts."""
    prompts: Tensor
    """(G * n,) nodes of the prompts, group by group."""
    grid: Grid
    """Place of each node in its group."""
    seen: Tensor
    """(G, 1, S, S) bool: a node reads its ancestors and itself."""
    nodes: Tensor
    """(B, N) node of each position of each text; 0 where the text is shorter."""
    ends: Tensor
    """(G * E,) node of the last token of each text, in sorted order; the last text is repeated to fill its group."""
    texts: Tensor
    """(B,) place of each text among the ends."""

    @property
    def ending(self) -> Tensor:
        """(G, 1, E, S) bool: the nodes that the last token of each text reads."""
        groups, size = self.grid.groups, self.grid.size
        place = self.grid.places[self.ends]  # (G * E,)
        return self.seen.view(groups * size, size)[place].view(groups, 1, -1, size)

    def enter(self, rows: Tensor, prompts: Prompts | None, layer: int) -> Tensor:
        """(T, W) -> (T, W) with the prompts of a layer at their nodes, if the layer has any."""
        if prompts is None or layer not in prompts.layers:
            return rows
        own = prompts.layers[layer].to(rows.dtype)
        return rows.index_copy(0, self.prompts, own.view(-1, own.shape[-1]).repeat(self.grid.groups, 1))


def shareable(tokens: TokenBatch, prompts: Prompts | None) -> bool:
    """Returns True if a causal tower may encode texts as trees: several texts, and prompts that are before the words of all.

    A CPU alone: elsewhere it was not measured. Never in an exported graph, which a look at the batch would fix to one size.
    """
    if torch.compiler.is_exporting() or len(tokens) == 1 or tokens.ids.device.type != "cpu":
        return False
    return prompts is None or (
        prompts.first == 0
        and prompts.leading is None
        and all(own.dim() == 2 or len(own) == 1 for own in prompts.layers.values())
    )


def token_trees(tokens: TokenBatch, prompts: int, at_once: int = TEXTS) -> TokenTrees:
    """Returns the trees of B texts with `prompts` positions behind the first token, `at_once` neighbours in each group."""
    ids, lengths = tokens.ids.numpy(), tokens.lengths.numpy() + prompts
    ids = np.concatenate([ids[:, :1], np.zeros((len(ids), prompts), ids.dtype), ids[:, 1:]], axis=1)  # (B, N)
    real = np.arange(ids.shape[1]) < lengths[:, None]
    ids = np.where(real, ids, -1)
    order = np.lexsort(ids.T[::-1])
    ids, real, row = ids[order], real[order], np.arange(len(ids))
    shared = np.zeros_like(real)
    shared[1:] = np.logical_and.accumulate((ids[1:] == ids[:-1]) & real[1:], axis=1)
    shared[::at_once] = False
    fresh = real & ~shared
    origin = np.maximum.accumulate(np.where(shared, -1, row[:, None]), axis=0)  # (B, N) the row that has the node
    nodes = (fresh.cumsum() - 1).reshape(fresh.shape)[origin, np.arange(ids.shape[1])]  # (B, N)
    text, column = fresh.nonzero()  # (T,) each
    grid, within = Grid.of(text // at_once)
    seen = np.zeros((grid.groups, grid.size, grid.size), dtype=bool)
    seen[:, np.arange(grid.size), np.arange(grid.size)] = True  # a padded place too, whose softmax would be undefined
    node, before = (np.arange(ids.shape[1]) <= column[:, None]).nonzero()
    seen[text[node] // at_once, within[node], within[nodes[text[node], before]]] = True
    ends = nodes[row, lengths[order] - 1]
    ends = np.concatenate([ends, np.full(-len(ends) % at_once, ends[-1])])
    back = order.argsort()
    return TokenTrees(
        torch.from_numpy(ids[text, column]),
        torch.from_numpy(column),
        torch.from_numpy(((column > 0) & (column <= prompts)).nonzero()[0]),
        grid,
        torch.from_numpy(seen)[:, None],
        torch.from_numpy(np.where(real, nodes, 0)[back]),
        torch.from_numpy(ends),
        torch.from_numpy(back),
    )


def tree_layer(layer: Any, rows: Tensor, trees: TokenTrees) -> Tensor:
    """The output of a `CLIPEncoderLayer` at every node: (T, W) -> (T, W)."""
    attention, grid = layer.self_attn, trees.grid
    normed = layer.layer_norm1(rows)
    parts = (attention.q_proj(normed), attention.k_proj(normed), attention.v_proj(normed))
    query, key, value = (_heads(spread(part, grid), attention) for part in parts)  # (G, H, S, W / H)
    read = scaled_dot_product_attention(query, key, value, trees.seen, scale=attention.scale)
    rows = rows + attention.out_proj(pack(read.transpose(1, 2).flatten(2), grid))
    return rows + layer.mlp(layer.layer_norm2(rows))


def ends_of_layer(layer: Any, rows: Tensor, trees: TokenTrees) -> Tensor:
    """The output of a `CLIPEncoderLayer` at the last token of every text: (T, W) -> (B, W)."""
    attention, grid = layer.self_attn, trees.grid
    normed = layer.layer_norm1(rows)
    query = attention.q_proj(normed[trees.ends]).view(grid.groups, -1, rows.shape[1])  # (G, E, W)
    key, value = (spread(part, grid) for part in (attention.k_proj(normed), attention.v_proj(normed)))
    query, key, value = (_heads(part, attention) for part in (query, key, value))
    read = scaled_dot_product_attention(query, key, value, trees.ending, scale=attention.scale)  # (G, H, E, W / H)
    token = rows[trees.ends] + attention.out_proj(read.transpose(1, 2).flatten(2).flatten(0, 1))
    token = token + layer.mlp(layer.layer_norm2(token))  # (G * E, W)
    return token[trees.texts]


def _heads(rows: Tensor, attention: Any) -> Tensor:
    return rows.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
