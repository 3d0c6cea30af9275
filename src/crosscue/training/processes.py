"""Processes that train one run together: each encodes its own rows, and process 0 alone writes."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from crosscue.backbones.collectives import meet, together
from crosscue.backbones.protocol import fingerprint_of_tensors
from crosscue.backbones.rows import Rows
from crosscue.errors import OptionError, ProcessError
from crosscue.launched import one_of_many
from crosscue.progress import mute, note
from crosscue.training.checkpoints import Position, standing

Result = TypeVar("Result")
PATIENCE = datetime.timedelta(days=7)
"""Longest work that one process does while the others wait, such as filling a cache."""
GRACE = datetime.timedelta(seconds=3)
"""Time in which a process that waits notes it, after another has."""
NEAR = 1e-4
"""Largest difference of parameters between machines that round differently."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    patient: Any = None
    """Group of waiting for work of any length."""
    store: Any = None
    _found: ClassVar[list[Processes]] = []

    @classmethod
    def found(cls, timeout: float = 120) -> Processes:
        """Returns the processes that torchrun started, connected; one process without torchrun.

        Raises:
            ProcessError: another process did not come within `timeout` seconds.
        """
        if not cls._found and one_of_many():
            cls._found.append(cls._connected(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), timeout))
        return cls._found[0] if cls._found else cls()

    @classmethod
    def _connected(cls, rank: int, world: int, timeout: float) -> Processes:
        local, limit = int(os.environ["LOCAL_RANK"]), datetime.timedelta(seconds=timeout)
        host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
        if rank:
            mute()
        if torch.cuda.is_available():
            torch.cuda.set_device(local % torch.cuda.device_count())
        late = 0
        try:
            hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by the agent of torchrun
            tcp = dist.TCPStore(host, int(port), None, not hosted and rank == 0, limit, wait_for_workers=False)  # type: ignore[attr-defined]
            store = dist.PrefixStore(f"crosscue/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", tcp)  # type: ignore[attr-defined]
            store.set(f"here/{rank}", "")
            for late in range(world):
                store.wait([f"here/{late}"], limit)
            dist.init_process_group(store=store, rank=rank, world_size=world, timeout=limit)
        except (RuntimeError, ValueError) as error:
            raise ProcessError(
                f"process {late} of {world} did not come within {timeout:g} s ({host}:{port}). Are all started, with the "
                "same --nnodes, and is the port open?"
            ) from error
        atexit.register(_leave)
        return cls(rank, world, local, dist.new_group(backend="gloo", timeout=PATIENCE), store)

    @property
    def main(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"{self.world} process{'es' if self.world > 1 else ''}"

    def rows(self, at_once: int | None) -> Rows:
        """Returns the rows of this process."""
        return Rows(self.rank, self.world, at_once)

    def wait(self) -> None:
        """Returns when all processes are here, however long it takes."""
        if self.world > 1:
            with together("the others"):
                dist.barrier(self.patient)

    def first(self, work: Callable[[], Result]) -> Result:
        """Returns what `work` returns; the first process of each machine does it before the others, alone."""
        if self.local_rank == 0:
            result = work()
            self.wait()
            return result
        self.wait()
        return work()

    def everywhere(self, value: Any, what: str) -> list[Any]:
        """Returns the values of all processes, in their order, however long the others take to come."""
        self.wait()
        return self._gathered(value, what)

    def _gathered(self, value: Any, what: str) -> list[Any]:
        found: list[Any] = [value] * self.world
        if self.world > 1:
            meet(what)
            with together(what):  # one that has met the others may end before it gives its value
                dist.all_gather_object(found, value)
        return found

    def agree(self, flag: bool) -> bool:
        """Returns True if the flag is set on any process."""
        return any(self._gathered(flag, "the end of a step"))

    def same(self, what: str, values: Mapping[str, Any], remedy: str) -> None:
        """Raises `ProcessError` on all processes where one has other values than process 0; the message names both."""
        first, *others = self.everywhere(_flat(values), f"the comparison of {what}")
        for rank, other in enumerate(others, 1):
            for name in sorted(first.keys() | other.keys()):
                if first.get(name) != other.get(name):
                    own, its = (str(found.get(name))[:24] for found in (first, other))
                    raise ProcessError(f"process {rank} has other {what} ({name} {its}, process 0 {own}). {remedy}")

    def check_equal(self, state: Mapping[str, Tensor]) -> None:
        """Compares tensors that all processes computed; where they differ a little, takes those of process 0.

        Raises:
            ProcessError: they differ by more than `NEAR`.
        """
        if self.world == 1 or len(set(self._gathered(fingerprint_of_tensors(dict(state)), "a checkpoint"))) == 1:
            return
        apart = 0.0
        for tensor in state.values():
            first = tensor.detach().clone()
            with together("a checkpoint"):
                dist.broadcast(first, 0)
            apart = max(apart, float((first - tensor.detach()).abs().max()))
            tensor.detach().copy_(first)
        furthest = max(self._gathered(apart, "a checkpoint"))
        if not furthest <= NEAR:
            raise ProcessError(
                f"the processes have trained different parameters, {furthest:.1e} apart. Use the same versions and the same "
                "kind of device everywhere, and draw random numbers on all processes alike."
            )
        note(
            f"the parameters of the processes were {furthest:.1e} apart, as mixed machines make them; those of process 0 are kept"
        )

    def require_rows(self, batch_size: int) -> None:
        """Raises `OptionError` where a batch has fewer rows than there are processes."""
        if batch_size < self.world:
            raise OptionError(
                f"training.batch_size is {batch_size}, and {self.world} processes need a row each. Use at most {batch_size} "
                "processes, or a larger batch."
            )

    def require_devices(self, device: torch.device) -> None:
        """Raises `OptionError` where processes of this machine would share a GPU."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.world)) if self.world > 1 else 1
        if device.type != "cpu" and here > (count := torch.get_device_module(device).device_count()):
            raise OptionError(
                f"{here} processes of this machine need a GPU each, and it has {count}. Start one for each, or give --device cpu."
            )

    def refuse(self, what: str, remedy: str = "") -> None:
        """Raises `OptionError` for work that several processes do not share; `remedy` is another one than to leave them out."""
        if self.world > 1:
            raise OptionError(f"{what} runs on 1 process, and there are {self.world}. Leave --processes out{remedy}.")

    @contextlib.contextmanager
    def named(self, folder: Path, position: Position) -> Iterator[None]:
        """Adds to an error about another process its number, the step, and the way on."""
        try:
            yield
        except ProcessError as error:
            raise ProcessError(f"{self._absent(error)} at step {position.step + 1}. {standing(folder)}") from error

    def _absent(self, error: ProcessError) -> str:
        """Returns the process that did not come, in words. Those that wait elsewhere note it in the store at the same time."""
        others = [rank for rank in range(self.world) if rank != self.rank]
        if "process 0 is at" in str(error):
            return f"the processes do not do the same: {error}"
        if "imed out" not in str(error):
            return f"process {others[0]} of 2 ended" if len(others) == 1 else f"a process of {self.world} ended"
        self.store.set(f"waits/{self.rank}", "")
        for rank in others:
            try:
                self.store.wait([f"waits/{rank}"], GRACE)
            except RuntimeError:
                return f"process {self.rank} waited for process {rank}, which did not come to '{error.what}',"
        return f"the processes waited for each other before '{error.what}'"


def _leave() -> None:
    """Ends the threads of the group, which could abort a process that ends beside them."""
    if dist.is_initialized() and not torch.cuda.is_available():  # that of a GPU could wait for a process that has ended
        dist.destroy_process_group()


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Returns the values inside mappings and lists, each by its place, such as `training.seed`."""
    if not isinstance(values, Mapping | list):
        return {name: values}
    inner = values.items() if isinstance(values, Mapping) else enumerate(values)
    return {
        place: one for key, value in inner for place, one in _flat(value, f"{name}.{key}" if name else str(key)).items()
    }


ALONE = Processes()
"""A run of one process."""
