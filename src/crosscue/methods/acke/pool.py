"""A pool of prompts that inputs choose from by keys (L2P), shared by both towers: ACKE's adaptive co-operative prompt.

    query of an image or text -> cosine to M keys -> the k nearest prompts, each times its gate -> k L prompt positions

Hard selection alone would never teach the keys anything. The gate, k softmax(cosine / tau) over the chosen, averages 1 and carries their
gradient. `pull_loss` moves the chosen keys towards their queries. `balance_loss` keeps prompts from dying.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, normalize

from crosscue.errors import MethodError

Keys = Literal["learned", "random", "static"]


@dataclass(frozen=True)
class Selection:
    """Choices of B inputs."""

    index: Tensor
    """(B, k) indices of the prompts, in ascending order, so that a selection is a set; (1, k) where it is the same for all."""
    gate: Tensor
    """(B, k) factors of the prompts."""
    affinity: Tensor | None
    """(B, M) cosines of the queries to all keys; None where nothing is chosen."""


@dataclass(frozen=True)
class PoolShape:
    """Size of a pool, and of a choice from it."""

    size: int
    """M prompts."""
    length: int
    """L positions of one prompt."""
    chosen: int
    """k prompts an input gets."""
    depth: int = 1
    """Layers with prompts of their own; one choice serves them all."""
    temperature: float = 0.1
    """tau of the gate and of the distributions over the pool."""

    def check(self) -> None:
        """Raises `MethodError` where the pool is too small to choose from."""
        if not 1 <= self.chosen <= self.size:
            raise MethodError(f"top_k is {self.chosen}; a pool of {self.size} prompts allows 1 to {self.size}.")
        if self.length < 1:
            raise MethodError(f"prompt_length is {self.length}; it must be at least 1.")
        if self.temperature <= 0:
            raise MethodError(f"gate_temperature is {self.temperature}; it must be above 0.")


class PromptPool(nn.Module):
    """M prompts of an image tower's width, and the keys they are found by.

    `learned`: the keys get gradients. `random`: the keys are a fixed projection (a control). `static`: there is no choice, and every
    input gets the first k prompts, as many positions as with one (the other control).
    """

    def __init__(self, shape: PoolShape, width: int, key_width: int, keys: Keys) -> None:
        super().__init__()
        shape.check()
        self.shape, self.kind = shape, keys
        members = shape.chosen if keys == "static" else shape.size
        self.prompts = nn.Parameter(self.drawn(shape.depth, members, shape.length, width, std=0.02))  # P (J, M, L, W)
        drawn = self.drawn(members, key_width, std=1.0)
        if keys == "learned":
            self.keys: Tensor | None = nn.Parameter(drawn)  # (M, C)
        else:
            self.register_buffer("keys", drawn if keys == "random" else None)

    def drawn(self, *size: int, std: float) -> Tensor:
        """Returns the first values of prompts or keys, from N(0, std^2)."""
        return torch.empty(*size).normal_(std=std)

    def select(self, queries: Tensor) -> Selection:
        """(B, C) queries -> their choices; ties go to the prompt that comes first."""
        if self.keys is None:
            return self.fixed()
        affinity = normalize(queries.float(), dim=-1) @ normalize(self.keys, dim=-1).T  # gamma (B, M)
        return self.gated(affinity, nearest(affinity.detach(), self.shape.chosen))

    def gated(self, affinity: Tensor, nearest: Tensor) -> Selection:
        """Returns the choice of `nearest` (B, k), the prompts of highest cosine first, with its gate."""
        index = nearest.sort(dim=1).values
        gate = self.shape.chosen * (affinity.gather(1, index) / self.shape.temperature).softmax(1)  # pi
        return Selection(index, gate, affinity)

    def fixed(self) -> Selection:
        """Returns the prompts that `static` gives to every input: one row (1, k) for all."""
        every = torch.arange(self.shape.chosen, device=self.prompts.device)[None]
        return Selection(every, torch.ones(every.shape, device=every.device), None)

    def distribution(self, affinity: Tensor) -> Tensor:
        """(B, M) cosines -> (B, M) softmax(gamma / tau) over the whole pool."""
        return (affinity / self.shape.temperature).softmax(1)

    def pull_loss(self, selections: Sequence[Selection]) -> Tensor:
        """Returns () mean of 1 - gamma over the chosen, summed over the modalities."""
        return torch.stack(
            [1 - s.affinity.gather(1, s.index).mean() for s in selections if s.affinity is not None]
        ).sum()

    def balance_loss(self, selections: Sequence[Selection]) -> Tensor:
        """Returns () M sum_m (how often m was chosen) (mean probability of m): 1 at even use, up to M / k at a fixed choice."""
        terms = []
        for selection in selections:
            if selection.affinity is not None:
                used = torch.bincount(selection.index.flatten(), minlength=selection.affinity.shape[1]).float()
                share = self.distribution(selection.affinity).mean(0)
                terms.append(selection.affinity.shape[1] * (used / used.sum() * share).sum())
        return torch.stack(terms).mean()

    def agreement_loss(self, image: Selection, text: Selection) -> Tensor:
        """Returns () KL of a caption's distribution over the pool to its image's: the pair is supervision, never an input."""
        assert image.affinity is not None
        assert text.affinity is not None
        target = self.distribution(image.affinity).detach()
        return kl_div(self.distribution(text.affinity).log(), target, reduction="batchmean")

    def overlap_loss(self) -> Tensor:
        """Returns () the mean squared cosine between different prompts of the pool."""
        prompts = normalize(self.prompts.mean(2), dim=-1)  # (J, M, W)
        cosines = prompts @ prompts.transpose(1, 2)  # (J, M, M)
        count = cosines.shape[-1]
        off = cosines * (1 - torch.eye(count, device=cosines.device))
        return off.square().sum((1, 2)).mean() / max(count * (count - 1), 1)


def nearest(affinity: Tensor, count: int) -> Tensor:
    """(B, M) cosines -> (B, `count`) indices of the highest, the highest first, and the first of equal ones."""
    if torch.compiler.is_exporting():
        return affinity.topk(count, dim=1).indices  # the operator of ONNX, which has no stable sort, orders ties so
    return affinity.argsort(dim=1, descending=True, stable=True)[:, :count]


def chosen_prompts(prompts: Tensor, selection: Selection) -> list[Tensor]:
    """(J, M, L, W) prompts -> J times (B, k L, W): those each input chose, times their gates."""
    gate = selection.gate[..., None, None]
    return [(gate * layer[selection.index]).flatten(1, 2) for layer in prompts]
