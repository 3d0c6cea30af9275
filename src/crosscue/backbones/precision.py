"""In which number format the frozen towers compute. Learned tensors, logits and losses are always float32."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch

from crosscue.errors import BackboneError, suggestion

PrecisionName = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Precision:
    """The format of the towers, and why."""

    name: Literal["fp32", "bf16"]
    reason: str

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """Returns the context the towers run in."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Returns the precision for a device: what was asked for, or with `auto` bf16 where a GPU computes it natively.

    Raises:
        BackboneError: unknown name.
    """
    if name == "fp32":
        return Precision("fp32", "asked for")
    if name == "bf16":
        return Precision("bf16", "asked for")
    if name != "auto":
        raise BackboneError(f"there is no precision '{name}'.{suggestion(name, ('auto', 'fp32', 'bf16'))}")
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return Precision("bf16", "this GPU computes bf16 natively; learned tensors and losses stay float32")
    if device.type == "cuda":
        return Precision("fp32", "this GPU has no native bf16")
    return Precision("fp32", "on a CPU bf16 is exact for nothing and faster only with special instructions")
