"""Dtype of the frozen towers. Learned tensors, logits and losses are always float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from crosscue.errors import BackboneError, suggestion
from crosscue.progress import note


@dataclass(frozen=True)
class Precision:
    """The format of the towers, and why."""

    name: Literal["fp32", "bf16"]
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """The format of the frozen weights and of what flows between their layers."""
        return torch.bfloat16 if self.name == "bf16" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Within it, learned float32 layers as large as those of a tower multiply in the towers' format too."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.name == "bf16")


def choose_precision(name: str, device: torch.device) -> Precision:
    """Returns the precision for a device: the given one, or with `auto` bf16 where the CPU computes it natively.

    Raises:
        BackboneError: unknown name.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise BackboneError(f"there is no precision '{name}'.{suggestion(str(name), ('auto', 'fp32', 'bf16'))}")
    if name == "fp32":
        return Precision("fp32", "chosen")
    native = computes_bf16(device)
    if name == "bf16":
        if not native:
            note("--precision bf16: this machine has no native bf16, and computes it many times slower than fp32.")
        return Precision("bf16", "chosen")
    if native:
        return Precision("bf16", "this CPU computes bf16 natively; learned tensors and losses stay float32")
    return Precision("fp32", "this CPU has no native bf16")


def computes_bf16(device: torch.device) -> bool:
    """Returns True if a device multiplies bf16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() and cpu_has_bf16_instructions()


def cpu_has_bf16_instructions() -> bool:
    """Returns true if the CPU multiplies bf16 itself; libraries emulate it, slowly, if it does not."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags.split()
