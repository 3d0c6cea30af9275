"""The engine of several machines: actors on the nodes of a Ray cluster, which see images and tables at the same paths."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from crosscue.errors import CollectionError, CrosscueError
from crosscue.progress import note
from crosscue.search.engines import STARTS, TICK, Worker
from crosscue.search.ray_cluster import actor_class, connected
from crosscue.search.shards import Lost, Shard, Written
from crosscue.version import __version__

PATIENCE = 30.0
"""Seconds to wait for a node that has room for a worker and was not left out."""


@dataclass(frozen=True)
class RayActors:
    """Actors of a Ray cluster that runs already."""

    workers: int
    address: str = "auto"
    """See `connected`."""
    cpus: float = 2.0
    """CPUs of each worker."""
    gpus: float = 0.0

    def run(self, shards: Iterator[Shard], worker: Worker) -> Generator[Written | Lost | None]:
        """See `Engine`.

        Raises:
            CrosscueError: of a worker, such as a full disk; there is no cluster; no node of it can work.
        """
        with connected(self.address) as ray:
            crew = Crew(self, worker, ray, ray.put(worker))
            try:
                yield from crew.answers(shards)
            finally:
                for member in crew.members:
                    ray.kill(member.actor)


@dataclass(eq=False)
class Member:
    """A worker, from the request for it on."""

    actor: Any
    owes: Any
    """Reference to its next answer; None: it is ready and idle."""
    node: str = "a node"
    """Address, once it is there."""
    key: str = ""
    """Id of the node for Ray."""
    ready: bool = False
    shard: Shard | None = None


@dataclass
class Crew:
    """The workers of a run, and the nodes that cannot have one."""

    options: RayActors
    worker: Worker
    ray: Any
    sent: Any
    """Reference to the worker."""
    members: list[Member] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Id of a node -> the reason."""
    failed: int = 0
    """Nodes left out and workers that ended before they were ready, since the last shard that was written."""

    def answers(self, shards: Iterator[Shard]) -> Generator[Written | Lost | None]:
        """See `Engine.run`."""
        hopeful = time.monotonic()
        while True:
            while len(self.members) < self.options.workers and self.failed < STARTS:
                self.members.append(self._start())
            hopeful = time.monotonic() if self._has_room() else hopeful
            if not self.members or time.monotonic() - hopeful > PATIENCE:
                raise CollectionError(self._reasons())
            idle = [member for member in self.members if member.owes is None]
            for member in idle:
                if (shard := next(shards, None)) is not None:
                    member.shard, member.owes = shard, member.actor.write.remote(shard)
            if idle and not any(member.shard for member in self.members):
                return
            owed = {member.owes: member for member in self.members if member.owes is not None}
            done, _ = self.ray.wait(list(owed), timeout=TICK)
            answer = self._receive(owed[done[0]]) if done else None
            if answer is not None or not done:
                yield answer

    def _start(self) -> Member:
        others = {"ray.io/node-id": f"!in({','.join(self.left_out)})"} if self.left_out else None
        made = self.ray.remote(actor_class()).options(
            num_cpus=self.options.cpus, num_gpus=self.options.gpus, scheduling_strategy="SPREAD", label_selector=others
        )
        actor = made.remote()
        return Member(actor, actor.arrive.remote())

    def _receive(self, member: Member) -> Written | Lost | None:
        """Returns the answer about a shard. Other answers bring the member on, or end it."""
        try:
            answer = self.ray.get(member.owes)
        except self.ray.exceptions.RayTaskError as error:
            ours = isinstance(error.cause, CrosscueError)
            if member.ready:
                raise (error.cause if ours else error) from None
            answer = f"cannot open the encoder (left out): {error.cause if ours else repr(error.cause)}"
        except self.ray.exceptions.RayError:  # the process or its node is gone, or cannot be reached
            self._end(member)
            self.failed += not member.ready
            return Lost(member.shard, f"on node {member.node}") if member.shard is not None else None
        if isinstance(answer, Written):
            member.shard, member.owes, self.failed = None, None, 0
            return answer
        if isinstance(answer, tuple):
            member.key, member.node, version = answer
            if version == __version__:
                samples = [path for path in self.worker.samples if os.access(path, os.R_OK)]  # it may be gone since
                member.owes = member.actor.open.remote(self.sent, samples)
                return None
            has = "no crosscue" if version is None else f"crosscue {version}, not {__version__}"
            answer = f"has {has} (left out). There: pip install crosscue=={__version__}"
        if answer is None:
            member.ready, member.owes = True, None
        else:
            self._leave_out(member, answer)
        return None

    def _leave_out(self, member: Member, reason: str) -> None:
        self._end(member)
        if member.key not in self.left_out:
            self.left_out[member.key] = f"node {member.node} {reason}"
            self.failed += 1
            note(self.left_out[member.key])

    def _end(self, member: Member) -> None:
        self.members.remove(member)
        self.ray.kill(member.actor)

    def _has_room(self) -> bool:
        """Returns True if a worker is there, or a node could have one."""
        wanted = {"CPU": self.options.cpus, "GPU": self.options.gpus}
        return any(member.key for member in self.members) or any(
            node["Alive"]
            and node["NodeID"] not in self.left_out
            and all(node["Resources"].get(name, 0) >= number for name, number in wanted.items())
            for node in self.ray.nodes()
        )

    def _reasons(self) -> str:
        if self.left_out:
            return " ".join(self.left_out.values())
        if self.failed:
            return f"{self.failed} workers ended before they had opened the encoder. If memory ended, give fewer: --workers 1"
        return (
            f"no node of the Ray cluster has {self.options.cpus:g} CPUs and {self.options.gpus:g} GPUs for a worker. "
            "Give fewer with --cpus_per_worker, or add a node."
        )
