"""The record of every request: its line in the log, and its counters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crosscue.serving.logs import access
from crosscue.serving.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Watched:
    """Middleware that counts requests by route and status with their seconds, and writes one line each, without its query string."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Keeps the counters."""
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, then records its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_watched)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route, "all").observe(seconds)
            took = round(seconds * 1000, 1)
            fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": took}
            fields["owner"] = scope.get("state", {}).get("owner", "")
            access.info("%s %s %d %.1f ms", scope["method"], scope["path"], status, took, extra={"fields": fields})
