"""Everything the loop needs to go on bit-exactly: learned tensors, optimiser, scheduler, random states, position."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from crosscue.errors import CrosscueError, RunError
from crosscue.storage import atomic_file, atomic_folder, read_json, recover_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator
    from torch import Tensor

    from crosscue.methods.contract import Method

ADAPTER = "adapter.safetensors"


@dataclass
class Position:
    """Where a run stands between two optimiser steps."""

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """The epoch the next step belongs to."""
    step_in_epoch: int = 0
    """Optimiser steps done in that epoch."""
    best: float | None = None
    """Best validation Rsum so far."""
    best_epoch: int | None = None
    """Epochs done when it was reached."""
    stale: int = 0
    """Validations since then."""
    finished: bool = False
    """All epochs are done, or early stopping ended the run."""
    seconds: float = 0.0
    """Time spent training, over all resumptions."""


def save_learned(path: Path, state: dict[str, Tensor]) -> None:
    """Writes learned tensors to `path` atomically."""
    with atomic_file(path) as part:
        save_file({name: tensor.cpu().contiguous() for name, tensor in state.items()}, part)


class Checkpoints:
    """`checkpoints/last` to resume from, and `checkpoints/best.safetensors` where there is a validation split."""

    def __init__(self, folder: Path, accelerator: Accelerator, method: Method[Any]) -> None:
        self.last, self.best = folder / "last", folder / "best.safetensors"
        self.accelerator, self.method = accelerator, method
        accelerator.register_save_state_pre_hook(self._save_learned_only)
        accelerator.register_load_state_pre_hook(self._load_learned_only)

    def _save_learned_only(self, models: list[Any], weights: list[Any], folder: str) -> None:
        from pathlib import Path

        save_learned(Path(folder) / ADAPTER, self.method.learned_state())
        weights.clear()  # the frozen towers are not part of a checkpoint

    def _load_learned_only(self, models: list[Any], folder: str) -> None:
        from pathlib import Path

        self.method.load_learned_state(load_file(Path(folder) / ADAPTER))
        models.clear()

    def save(self, position: Position) -> None:
        """Writes `checkpoints/last`, atomically."""
        with atomic_folder(self.last) as part:
            self.accelerator.save_state(str(part), safe_serialization=True)
            write_json(part / "position.json", asdict(position))

    def load(self) -> Position | None:
        """Restores the last checkpoint and returns its position; None where there is none.

        Raises:
            RunError: the checkpoint is damaged or belongs to another method.
        """
        recover_folder(self.last)
        if not self.last.exists():
            return None
        try:
            position = Position(**read_json(self.last / "position.json"))
            self.accelerator.load_state(str(self.last))
        except (CrosscueError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise RunError(
                f"{self.last}: the checkpoint cannot be read ({error}). Start again without --resume."
            ) from error
        return position

    def save_best(self) -> None:
        """Remembers the present learned tensors as the best on validation."""
        save_learned(self.best, self.method.learned_state())

    def load_best(self) -> None:
        """Takes back the learned tensors that were best on validation."""
        self.method.load_learned_state(load_file(self.best))
