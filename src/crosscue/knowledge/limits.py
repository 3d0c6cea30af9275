"""Caps on calls, tokens and spend. Each request reserves its largest possible cost before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from crosscue.errors import EndpointError
from crosscue.interruption import Interruption
from crosscue.knowledge.cache import Spending
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.failures import Interrupted, LimitReached


@dataclass(frozen=True)
class Limits:
    """Caps over all calls of one cache. They hold over all runs: a resumed run does not start from zero."""

    max_calls: int | None = None
    """Most requests. `null`: no cap."""
    max_tokens: int | None = None
    """Most tokens, sent and received together. `null`: no cap."""
    max_spend: float | None = None
    """Most money, in the currency of the prices of the endpoints. `null`: no cap."""

    def require_prices(self, *endpoints: Endpoint) -> None:
        """Raises `EndpointError` if money is capped and no endpoint has a price."""
        if self.max_spend is not None and not any(e.input_price or e.output_price for e in endpoints):
            raise EndpointError(
                "--limits.max_spend needs prices. Give --writer.input_price, --writer.output_price, and so on (--model.input_price ... "
                "for triplets and views)."
            )


class Meter:
    """Spending so far, and the largest possible cost of the requests under way."""

    def __init__(self, limits: Limits, spent: Spending | None = None, stopping: Interruption | None = None) -> None:
        """Receives the caps, the spending of earlier runs, and the flag that stops the run."""
        self.limits, self.spent, self.stopping = limits, spent or Spending(), stopping or Interruption()
        self.before = self.spent
        self.reserved = Spending()
        self.largest: dict[str, Spending] = {}
        self.changed = asyncio.Condition()

    def measured(self, endpoint: Endpoint, input_tokens: int, output_tokens: int) -> Spending:
        """Returns one call's spending at the endpoint's prices."""
        cost = (input_tokens * endpoint.input_price + output_tokens * endpoint.output_price) / 1e6
        return Spending(1, input_tokens, output_tokens, cost)

    @contextlib.asynccontextmanager
    async def room(self, endpoint: Endpoint, expected_input: int) -> AsyncIterator[None]:
        """Reserves the largest cost of one request while it is under way. Waits while other requests under way need the rest.

        The cost has two parts: the expected input or the largest so far of this model, and the longest allowed reply.

        Raises:
            LimitReached: the request could pass a cap.
            Interrupted: the user pressed Ctrl-C.
        """
        seen = self.largest.get(endpoint.model, Spending())
        claim = self.measured(endpoint, max(expected_input, seen.input_tokens), endpoint.max_tokens)
        async with self.changed:
            while (passed := self._passed(self.spent + self.reserved + claim)) and self.reserved.calls:
                await self.changed.wait()
            if self.stopping.requested:
                raise Interrupted(
                    "interrupted; every reply so far is kept. Run the same command again to go on from here."
                )
            if passed:
                raise LimitReached(
                    f"stopped before {passed}; {self.spent.calls:,} calls used "
                    f"{self.spent.input_tokens + self.spent.output_tokens:,} tokens and cost {self.spent.cost:.4f}. Every reply "
                    f"is kept: raise --limits.{passed.split()[0]} and run the same command again to go on from here."
                )
            self.reserved += claim
        try:
            yield
        finally:
            async with self.changed:
                self.reserved -= claim
                self.changed.notify_all()

    def add(self, endpoint: Endpoint, spent: Spending) -> None:
        """Adds the spending of a call."""
        self.spent += spent
        seen = self.largest.get(endpoint.model, Spending())
        if spent.input_tokens > seen.input_tokens:
            self.largest[endpoint.model] = spent

    def now(self) -> Spending:
        """Returns the spending of this run, without earlier ones."""
        return self.spent - self.before

    def _passed(self, total: Spending) -> str:
        """Returns the first cap that `total` passes; empty if it passes none."""
        limits = self.limits
        if limits.max_calls is not None and total.calls > limits.max_calls:
            return f"max_calls {limits.max_calls:,}"
        if limits.max_tokens is not None and total.input_tokens + total.output_tokens > limits.max_tokens:
            return f"max_tokens {limits.max_tokens:,}"
        if limits.max_spend is not None and total.cost > limits.max_spend + 1e-12:
            return f"max_spend {limits.max_spend:g}"
        return ""
