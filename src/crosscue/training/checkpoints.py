"""Checkpoints of the training loop, from which a run continues bit-exactly. They hold safetensors and JSON, never pickles."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crosscue.errors import CrosscueError, RunError
from crosscue.storage import atomic_file, atomic_folder, read_json, recover_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

    from crosscue.methods.contract import Method

ADAPTER = "adapter.safetensors"
BEST = "best.safetensors"


@dataclass
class Position:
    """Progress of a run between two optimiser steps."""

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


def standing(folder: Path) -> str:
    """Returns the end of the message about an ended process: the step of the last checkpoint, and the way on."""
    last = folder / "checkpoints" / "last" / "position.json"
    if not last.exists():
        return "The run has no checkpoint yet. Start it again with the same command."
    step = read_json(last)["step"]
    return (
        f"The run stands at step {step}. Go on with the same command and --resume; the number of processes may change."
    )


def save_learned(path: Path, state: dict[str, Tensor]) -> None:
    """Writes learned tensors to `path` atomically."""
    with atomic_file(path) as part:
        save_file({name: tensor.cpu().contiguous() for name, tensor in state.items()}, part)


def save_nested(stem: Path, state: Mapping[str, Any]) -> None:
    """Writes nested dictionaries and lists: their tensors to `stem`.safetensors, everything else to `stem`.json."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {str(key): plain(entry, f"{name}.{key}") for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry, f"{name}.{index}") for index, entry in enumerate(value)]
        return value

    stem.with_suffix(".json").write_text(json.dumps(plain(state, stem.name)), encoding="utf-8")
    save_file(tensors, stem.with_suffix(".safetensors"))


def load_nested(stem: Path) -> Any:
    """Returns what `save_nested` wrote; keys are strings and tuples are lists."""
    tensors = load_file(stem.with_suffix(".safetensors"))

    def whole(entry: dict[str, Any]) -> Any:
        return tensors[entry["tensor"]] if entry.keys() == {"tensor"} else entry

    return json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"), object_hook=whole)


def random_states(device: torch.device) -> dict[str, Any]:
    """Returns the states of the random generators of Python, NumPy, torch and the accelerator."""
    _, numbers, *rest = np.random.get_state(legacy=True)
    on_device = torch.get_device_module(device)
    return {
        "python": random.getstate(),
        "numpy": [np.asarray(numbers).tolist(), *rest],
        "torch": torch.get_rng_state(),
        "device": [] if device.type == "cpu" else [on_device.get_rng_state()],
    }


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restores what `random_states` returned."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    numbers, *rest = states["numpy"]
    np.random.set_state(("MT19937", np.array(numbers, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    for state in states["device"]:
        torch.get_device_module(device).set_rng_state(state)


class Checkpoints:
    """`checkpoints/last` to resume from, and `checkpoints/best.safetensors` if there is a validation split."""

    def __init__(
        self, folder: Path, method: Method[Any], optimizer: Optimizer, schedule: LambdaLR, *, writes: bool = True
    ) -> None:
        """Without `writes`, checkpoints are only loaded, as on all processes of a run but one."""
        self.last, self.best, self.writes = folder / "last", folder / BEST, writes
        self.method, self.optimizer, self.schedule = method, optimizer, schedule

    def save(self, position: Position) -> None:
        """Writes `checkpoints/last`, atomically."""
        if not self.writes:
            return
        state = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": random_states(self.method.backbone.device),
        }
        with atomic_folder(self.last) as part:
            save_learned(part / ADAPTER, self.method.learned_state())
            save_nested(part / "training", state)
            write_json(part / "position.json", asdict(position))

    def load(self) -> Position | None:
        """Restores the last checkpoint and returns its position; None if there is none.

        Raises:
            RunError: the checkpoint is damaged or belongs to another method.
        """
        if self.writes:
            recover_folder(self.last)
        if not self.last.exists():
            return None
        try:
            position = Position(**read_json(self.last / "position.json"))
            state = load_nested(self.last / "training")
            moments = {int(index): entry for index, entry in state["optimizer"]["state"].items()}
            self.method.load_learned_state(load_file(self.last / ADAPTER))
            self.optimizer.load_state_dict({**state["optimizer"], "state": moments})
            self.schedule.load_state_dict(state["schedule"])
            set_random_states(state["random"], self.method.backbone.device)
        except (
            CrosscueError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise RunError(
                f"{self.last}: the checkpoint cannot be read ({error}). Remove this folder, and the same command starts anew."
            ) from error
        return position

    def save_best(self) -> None:
        """Keeps the present learned tensors as the best on validation."""
        if self.writes:
            save_learned(self.best, self.method.learned_state())

    def load_best(self) -> None:
        """Restores the learned tensors that were best on validation."""
        self.method.load_learned_state(load_file(self.best))
