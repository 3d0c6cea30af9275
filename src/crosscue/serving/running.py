"""The server process: one socket, an application, and an end without a cut request."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import uvicorn

from crosscue.errors import OptionError

if TYPE_CHECKING:
    from fastapi import FastAPI

DRAIN, PATIENCE = 10, 1
"""Seconds that requests in work may take after SIGTERM, and those that their threads get to notice the end."""
WORKERS = "AnyIO worker thread"
"""Name of the threads that answer requests."""


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        OptionError: the address is not of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise OptionError(
                f"port {port} is in use. Choose another: --port {port + 1}, or 0 for a free one."
            ) from error
        raise OptionError(f"--host {host} --port {port}: cannot listen there ({error.strerror or error}).") from error
    made.listen(128)
    return made


def run(app: FastAPI, sock: socket.socket) -> None:
    """Answers requests until SIGTERM or Ctrl-C; then finishes those in work, for at most `DRAIN` seconds."""
    config = uvicorn.Config(
        app, access_log=False, log_config=None, timeout_graceful_shutdown=DRAIN, server_header=False, date_header=True
    )
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # uvicorn drains, then raises the signal once more
    uvicorn.Server(config).run(sockets=[sock])
    working = [thread for thread in threading.enumerate() if thread.name.startswith(WORKERS)]
    until = time.monotonic() + PATIENCE
    for thread in working:
        thread.join(max(until - time.monotonic(), 0))
    if any(thread.is_alive() for thread in working):  # Python would wait for them; their requests are answered by 503
        logging.shutdown()
        os._exit(0)
