"""Memory of a training step, and the message where it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from crosscue.errors import TrainingError
from crosscue.memory import available_bytes

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.training.config import TrainingConfig

KEPT = 9
"""Tensors of the size of its input that a layer keeps for the backward pass."""
BESIDE = 1.3
"""Measured memory of a step, as a multiple of what the layers keep."""
POSITIONS = 24
"""Positions of a caption with its prompts, at most those of the tower."""


def step_bytes(method: Method[Any], rows: int) -> float:
    """Returns the memory that `rows` pairs need in a step beside the weights, counted."""
    backbone = method.backbone
    frozen = method.image_use.layers(backbone)
    image = backbone.image_width * (backbone.patch_count + 1) * (backbone.image_layers - frozen)
    text = backbone.text_width * min(POSITIONS, backbone.context_length) * backbone.text_layers
    return BESIDE * KEPT * rows * (image + text) * torch.finfo(backbone.precision.dtype).bits / 8


def free_bytes(device: torch.device) -> float:
    """Returns the free memory of a device; of a CPU at most what a limit of the process leaves."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


@contextlib.contextmanager
def memory_of(method: Method[Any], config: TrainingConfig) -> Iterator[None]:
    """Turns the end of memory in a step into a message that proposes rows_at_once.

    Raises:
        TrainingError: memory ended.
    """
    free = free_bytes(method.backbone.device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        rows = config.chunk or config.batch_size
        less = max(rows // 8, 1)
        while less > 1 and step_bytes(method, less) > free / 2:
            less //= 2
        remedy = (
            f"--training.rows_at_once {less} gives the same gradients in ~{step_bytes(method, less) / 1e9:.1g} GB, in 1.5 x the time."
            if rows > 1
            else "Use a smaller --image_size, or --precision bf16."
        )
        what = f"rows_at_once {rows}" if config.chunk else f"batch {rows}"
        raise TrainingError(
            f"{what} does not fit (needs ~{step_bytes(method, rows) / 1e9:.2g} GB, {free / 1e9:.2g} free). {remedy} "
            "The last good checkpoint is kept."
        ) from error
