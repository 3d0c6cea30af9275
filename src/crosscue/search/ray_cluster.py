"""Connection to a running Ray cluster, and the actor that its nodes run."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from crosscue.errors import CollectionError

SECONDS = 3.0
"""Longest wait for an answer of the cluster. Ray itself waits for 80 seconds, and then ends the process."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""First bytes of an HTTP/2 client: gRPC, which Ray speaks, answers with settings (a frame of kind 4)."""


def reached(address: str) -> str:
    """Returns host:port of a cluster that answers.

    Args:
        address: host:port of its head; `auto`: RAY_ADDRESS, or the cluster that this machine belongs to.

    Raises:
        CollectionError: Ray is not installed, or there is no cluster.
    """
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError as error:
        raise CollectionError("--engine ray needs the package ray: pip install 'crosscue[scale]'") from error
    try:
        found = canonicalize_bootstrap_address(address) if address == "auto" else address
    except (ValueError, OSError):
        found = None
    if found is None or not _answers(found):
        raise CollectionError(
            f"no Ray cluster at {found or address}. Start one (`ray start --head`), or leave --engine ray out."
        )
    return str(found)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connects this process to a cluster, and yields the module `ray`.

    Raises:
        CollectionError: see `reached`; or the cluster has other versions.
    """
    found = reached(address)
    import ray

    handler, said = signal.getsignal(signal.SIGTERM), ray._private.worker
    said._worker_logs_enabled = False  # Ray prints the end of a worker on standard output
    try:
        try:
            ray.init(found, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise CollectionError(_refusal(found, error)) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray has put its own in place
        yield ray
    finally:
        ray.shutdown()
        said._worker_logs_enabled = True


def _answers(address: str) -> bool:
    """Returns True if a gRPC server listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS) as connection:
            connection.sendall(PREFACE)
            return connection.recv(9)[3:4] == b"\x04"
    except (OSError, ValueError, OverflowError):
        return False


def _refusal(address: str, error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    versions = re.findall(r"Ray: (\S+) Python: (\S+)", text)
    if len(versions) != 2:
        return f"the Ray cluster at {address} refuses this process: {text}"
    theirs, own = (f"Ray {one} on Python {python}" for one, python in versions)
    return f"the Ray cluster at {address} has {theirs}, this process {own}. Use the same: pip install ray=={versions[0][0]}"


def actor_class() -> type:
    """Returns the class of the workers. It travels as code, so that a node without crosscue can answer."""

    class Actor:
        def arrive(self) -> tuple[str, str, str | None]:
            """Returns id and address of the node, and its version of crosscue."""
            import ray

            context = ray.get_runtime_context()
            try:
                from crosscue.version import __version__
            except ImportError:
                return context.get_node_id(), ray.util.get_node_ip_address(), None
            return context.get_node_id(), ray.util.get_node_ip_address(), __version__

        def open(self, worker: Any, samples: list[Any]) -> str | None:
            """Opens the encoder; returns what this node cannot do.

            Args:
                worker: the worker.
                samples: files that the driver can read.
            """
            from pathlib import Path

            from crosscue.search.connection import dataset
            from crosscue.search.engines import OpenedWorker

            for path in samples:
                try:
                    Path(path).open("rb").close()
                except OSError:
                    return f"cannot read {path} (left out). Mount it there."
            try:
                dataset(worker.table)
            except (OSError, ValueError):
                return f"cannot read {worker.table} (left out). Mount it there."
            self.opened = OpenedWorker(worker)
            return None

        def write(self, shard: Any) -> Any:
            """Reads, encodes and writes a shard."""
            return self.opened(shard)

    return Actor
