"""Tensors that pass between the processes of a run, and the gradients that pass back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from crosscue.errors import ProcessError

WIDTH = 64
"""Bytes of the name of a meeting."""


def meet(what: str) -> None:
    """Returns when all processes are at the same point of the run.

    Without this, a process that encodes alone would receive other tensors than it waits for, or abort.

    Raises:
        ProcessError: another process is elsewhere, which the message names, or does not come.
    """
    own = torch.frombuffer(bytearray(what.encode()[:WIDTH].ljust(WIDTH)), dtype=torch.uint8)
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    with together(what):
        dist.all_gather(every, own)
    points = [bytes(each.numpy()).decode(errors="replace").strip() for each in every]
    for rank, point in enumerate(points):
        if point != points[0]:
            raise ProcessError(f"process 0 is at '{points[0]}' and process {rank} at '{point}'", what)


def all_rows(own: Tensor) -> Tensor:
    """(b, ...) of each process -> (world * b, ...) in the order of the processes."""
    meet(f"the rows {tuple(own.shape)}")
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    with together("the rows"):
        dist.all_gather(parts, own.contiguous())
    return torch.cat(parts)


def all_sum(own: Tensor) -> Tensor:
    """Tensor of each process -> their sum."""
    meet(f"the sum of {tuple(own.shape)}")
    total = own.clone(memory_format=torch.contiguous_format)
    with together("the sum"):
        dist.all_reduce(total)
    return total


class Shared(torch.autograd.Function):
    """As it is; backward: the sum over the processes."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        """Returns the tensor."""
        return tensor.view_as(tensor)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Returns the sum of the gradients."""
        return all_sum(gradient)


class Own(torch.autograd.Function):
    """Own rows of a batch, filled up to equal numbers with its last row; backward: the rows of all processes."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, rank: int, world: int) -> Tensor:
        """(B, ...) -> (b, ...) with b = B / world, rounded up."""
        context.count = len(tensor)
        share = -(-len(tensor) // world)
        index = torch.arange(rank * share, (rank + 1) * share, device=tensor.device)
        return tensor[index.clamp(max=len(tensor) - 1)]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """(b, ...) -> (B, ...)."""
        return all_rows(gradient)[: context.count], None, None


class Gathered(torch.autograd.Function):
    """Rows of all processes, without those that fill up; backward: the own rows."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, rank: int, world: int, count: int) -> Tensor:
        """(b, ...) -> (B, ...) with B = count."""
        context.rank, context.world, context.share = rank, world, len(tensor)
        return all_rows(tensor)[:count]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """(B, ...) -> (b, ...)."""
        whole = gradient.new_zeros(context.share * context.world, *gradient.shape[1:])
        whole[: len(gradient)] = gradient
        start = context.rank * context.share
        return whole[start : start + context.share], None, None, None


shared: Callable[..., Tensor] = Shared.apply
own_rows: Callable[..., Tensor] = Own.apply
gathered: Callable[..., Tensor] = Gathered.apply


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """Raises `ProcessError` where another process does not come to `what`."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(f"another process did not come ({error})", what) from error
