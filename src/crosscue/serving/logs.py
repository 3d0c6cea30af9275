"""One line for each request: readable on a terminal, JSON elsewhere. Queries are left out unless they are wanted."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

access = logging.getLogger("crosscue.serving.access")
query_log = logging.getLogger("crosscue.serving.queries")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        fields = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        fields["message"] = record.getMessage()
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def begin_logs(stream: TextIO = sys.stderr, *, requests: bool = True, queries: bool = False) -> None:
    """Sends the records of the server to a stream: text on a terminal, JSON elsewhere.

    Args:
        stream: where the lines go.
        requests: True writes one line a request.
        queries: True writes the texts of searches too, which are private.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S") if stream.isatty() else JsonLines())
    for name in ("crosscue.serving", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    access.setLevel(logging.INFO if requests else logging.WARNING)
    query_log.setLevel(logging.INFO if queries else logging.WARNING)


class Logged:
    """Middleware that writes one line for each request, without its query string."""

    def __init__(self, app: ASGIApp) -> None:
        """Keeps the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, then writes its line."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_logged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_logged)
        finally:
            took = round((time.perf_counter() - start) * 1000, 1)
            fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": took}
            fields["owner"] = scope.get("state", {}).get("owner", "")
            access.info("%s %s %d %.1f ms", scope["method"], scope["path"], status, took, extra={"fields": fields})
