"""Requests that wait for one tower, encoded together by one thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from crosscue.serving.failures import Refusal

Item = TypeVar("Item")
Row = TypeVar("Row")


@dataclass(frozen=True)
class _Request(Generic[Item, Row]):
    items: Sequence[Item]
    done: Future[list[Row]]


class Batcher(Generic[Item, Row]):
    """A queue before a tower. The thread takes what waits, up to `most` items, and encodes it in one call."""

    def __init__(
        self,
        encode: Callable[[Sequence[Item]], Sequence[Row]],
        most: int,
        *,
        seconds: float = 0.002,
        places: int = 64,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Starts the thread.

        Args:
            encode: items -> one row each.
            most: largest number of items in one call.
            seconds: time that the first request of a batch waits for others.
            places: requests that may wait; further ones are refused.
            observe: receives the size of each batch.
        """
        self.encode, self.most, self.seconds, self.observe = encode, most, seconds, observe
        self._waiting: queue.Queue[_Request[Item, Row] | None] = queue.Queue(places)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return self._waiting.qsize()

    def submit(self, items: Sequence[Item]) -> Future[list[Row]]:
        """Returns the rows of some items, later.

        Raises:
            Refusal: too many requests wait (429).
        """
        request = _Request[Item, Row](items, Future())
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            raise Refusal(429, "too many requests wait.", code="overloaded", headers={"Retry-After": "1"}) from None
        return request.done

    def close(self) -> None:
        """Answers the requests that wait, then ends the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            requests, ended = self._gathered(first)
            self._answer(requests)
            if ended:
                return

    def _gathered(self, first: _Request[Item, Row]) -> tuple[list[_Request[Item, Row]], bool]:
        """Returns the requests of one batch, and whether the end was met."""
        requests, size, until = [first], len(first.items), time.monotonic() + self.seconds
        while size < self.most:
            try:
                following = self._waiting.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if following is None:
                return requests, True
            requests.append(following)
            size += len(following.items)
        return requests, False

    def _answer(self, requests: list[_Request[Item, Row]]) -> None:
        requests = [request for request in requests if request.done.set_running_or_notify_cancel()]
        items = [item for request in requests for item in request.items]
        try:
            rows: list[Row] = []
            for start in range(0, len(items), self.most):
                part = items[start : start + self.most]
                self.observe(len(part))
                rows.extend(self.encode(part))
        except Exception as error:
            if len(requests) == 1:
                requests[0].done.set_exception(error)
            else:  # one bad item must not fail the requests beside it
                for request in requests:
                    self._alone(request)
            return
        for request in requests:
            request.done.set_result(rows[: len(request.items)])
            del rows[: len(request.items)]

    def _alone(self, request: _Request[Item, Row]) -> None:
        try:
            request.done.set_result(list(self.encode(request.items)))
        except Exception as error:
            request.done.set_exception(error)
