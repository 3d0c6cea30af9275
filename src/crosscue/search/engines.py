"""Engines, which run workers: here, processes of this machine. A worker is what each of them opens once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from crosscue.errors import CollectionError, CrosscueError
from crosscue.search.ingest import Ingest
from crosscue.search.reading import Captions, Reader
from crosscue.search.schema import COMPUTED, KEY, VECTOR, schema
from crosscue.search.shards import Lost, Shard, Written, write

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder

TICK = 0.5
"""Seconds after which an engine yields None, so that the driver can commit and stop."""
STARTS = 3
"""Processes in a row that may end before they have opened their encoder."""


@dataclass(frozen=True)
class Worker:
    """All that a process needs to write shards. It must pass through a pipe."""

    opens: Callable[[], Encoder]
    run: str
    """`Identity.run` of the space."""
    table: str
    """Folder or address of the table."""
    width: int
    """D."""
    roots: Mapping[str, Path]
    thumbnails: Path
    captions: Mapping[str, Captions] = field(default_factory=dict)
    """Id -> captions of a source of pairs."""
    batch_size: int = 32
    threads: int = 1
    samples: tuple[Path, ...] = ()
    """An image of each root. A machine that cannot read them is of no use."""


class Engine(Protocol):
    """A runner of workers."""

    def run(self, shards: Iterator[Shard], worker: Worker) -> Generator[Written | Lost | None]:
        """Hands out shards, and yields an answer for each; None at least once a second.

        `shards` may have another one after its end, since a lost shard comes back.
        """
        ...


class OpenedWorker:
    """A worker with its encoder."""

    def __init__(self, worker: Worker) -> None:
        """Opens the encoder.

        Raises:
            CollectionError: it is not that of the space.
        """
        self.worker, self.encoder = worker, worker.opens()
        if self.encoder.identity.run != worker.run:
            raise CollectionError(
                f"{self.encoder.identity.source}: it changed since the space was made. Index into a new one with --name NEW."
            )

    def __call__(self, shard: Shard) -> Written:
        """Reads, encodes and writes a shard."""
        start, worker = time.monotonic(), self.worker
        rows = ShardRows(schema(worker.width).empty_table())
        ingest = Ingest(rows, lambda: self.encoder, worker.width, {}, {}, worker.batch_size)
        thumbnails = worker.thumbnails if worker.thumbnails.parent.is_dir() else None  # it may be on another machine
        reader = Reader(worker.roots, self.encoder.pixels, thumbnails, ingest.contents, worker.captions)
        for _ in ingest.run(shard.items, reader, worker.threads, lambda: False):
            pass
        fragments = write(worker.table, rows.table)
        seconds = time.monotonic() - start
        return Written(
            shard.name, fragments, rows.table.num_rows, tuple(ingest.failures), seconds, socket.gethostname()
        )


@dataclass
class ShardRows:
    """Rows of a shard, in memory until all are there."""

    table: pa.Table

    def upsert(self, rows: pa.Table) -> None:
        """Adds rows, whose ids are new."""
        self.table = pa.concat_tables([self.table, rows])

    def computed(self, ids: Sequence[str]) -> pa.Table:
        """Returns id, vector and what is computed with it of some rows."""
        return self.table.filter(pc.is_in(self.table[KEY], value_set=pa.array(list(ids)))).select(
            [KEY, *COMPUTED, VECTOR]
        )


@dataclass
class Member:
    """A process of the local engine."""

    process: Any
    connection: Connection
    ready: bool = False
    shard: Shard | None = None


@dataclass(frozen=True)
class Local:
    """Processes of this machine."""

    workers: int

    def run(self, shards: Iterator[Shard], worker: Worker) -> Generator[Written | Lost | None]:
        """See `Engine`.

        Raises:
            CrosscueError: of a worker, such as a full disk; or its processes end before they are ready.
        """
        members = [_start(worker) for _ in range(self.workers)]
        failed = 0
        try:
            while True:
                for member in members:
                    if member.ready and member.shard is None and (shard := next(shards, None)) is not None:
                        _send(member, shard)
                idle = [member for member in members if member.ready and member.shard is None]
                if idle and not any(member.shard for member in members):
                    return
                readable = wait([member.connection for member in members], TICK)
                if not readable:
                    yield None
                for member in [one for one in members if one.connection in readable]:
                    try:
                        answer = member.connection.recv()
                    except (EOFError, OSError):
                        members[members.index(member)], reason = _start(worker), _ended(member)
                        failed = 0 if member.ready else failed + 1
                        if failed == STARTS:
                            raise CollectionError(
                                f"{STARTS} processes ended before they had opened the encoder ({reason}). If memory ended, "
                                "give fewer: --workers 1"
                            ) from None
                        if member.shard is not None:
                            yield Lost(member.shard, reason)
                        continue
                    if isinstance(answer, Exception):
                        raise answer
                    member.ready, member.shard, failed = True, None, 0
                    if answer is not None:
                        yield answer
        finally:
            for member in members:
                member.process.kill()
            for member in members:
                member.process.join()


def _start(worker: Worker) -> Member:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(worker, theirs), daemon=True)
    process.start()
    theirs.close()
    return Member(process, ours)


def _send(member: Member, shard: Shard) -> None:
    member.shard = shard
    try:
        member.connection.send(shard)
    except OSError:  # it has ended, which its connection will report
        return


def _ended(member: Member) -> str:
    member.process.join()
    code = member.process.exitcode
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _serve(worker: Worker, connection: Connection) -> None:
    """Answers shards until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver receives it, and ends its workers
    os.environ.setdefault("OMP_NUM_THREADS", str(worker.threads))  # before torch is imported
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    try:
        opened = OpenedWorker(worker)
        connection.send(None)
        while True:
            connection.send(opened(connection.recv()))
    except (EOFError, BrokenPipeError):
        return
    except CrosscueError as error:
        connection.send(error)
    except Exception:
        connection.send(RuntimeError(traceback.format_exc()))


def _end_with_the_driver() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
