"""Counters for Prometheus. No text of a query enters them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("crosscue_requests", "Requests", ["route", "code"], registry=self.registry)
        self.seconds = Histogram(
            "crosscue_seconds", "Seconds by stage", ["route", "stage"], buckets=SECONDS, registry=self.registry
        )
        self.batches = Histogram(
            "crosscue_batch_size",
            "Items encoded together",
            ["tower"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.waiting = Gauge("crosscue_waiting", "Requests before a tower", ["tower"], registry=self.registry)
        self.rows = Gauge("crosscue_images", "Images of a space", ["collection", "space"], registry=self.registry)
        self.unindexed = Gauge(
            "crosscue_unindexed_rows", "Rows outside the index", ["collection", "space"], registry=self.registry
        )
        ProcessCollector(registry=self.registry)

    @contextmanager
    def stage(self, route: str, stage: str) -> Iterator[None]:
        """Observes the seconds of one stage of a request."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds.labels(route, stage).observe(time.perf_counter() - start)


class Counted:
    """Middleware that counts requests by route and status, and their seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Keeps the counters."""
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and counts its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route, "all").observe(time.perf_counter() - start)
