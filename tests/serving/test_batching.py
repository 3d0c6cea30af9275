"""Requests before a tower are encoded together, in order, and fail alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from crosscue.serving.batching import Batcher
from crosscue.serving.failures import Refusal
from crosscue.serving.towers import Memory


class Doubling:
    """Doubles numbers once it may; refuses a batch with a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.begun.set()
        assert self.go.wait(10)
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("13 cannot be doubled")
        return [2 * item for item in items]


def test_requests_that_wait_are_encoded_together_and_each_gets_its_own_rows() -> None:
    encode = Doubling()
    batcher = Batcher(encode, 8)
    first = batcher.submit([1])
    assert encode.begun.wait(10)
    others = [batcher.submit([10, 11]), batcher.submit([20]), batcher.submit([30, 31, 32])]
    encode.go.set()
    assert first.result(10) == [2]
    assert [other.result(10) for other in others] == [[20, 22], [40], [60, 62, 64]]
    assert encode.batches == [[1], [10, 11, 20, 30, 31, 32]]
    batcher.close()


def test_a_request_larger_than_a_batch_is_encoded_in_parts() -> None:
    encode = Doubling()
    encode.go.set()
    batcher = Batcher(encode, 4)
    assert batcher.submit(list(range(10))).result(10) == list(range(0, 20, 2))
    assert [len(batch) for batch in encode.batches] == [4, 4, 2]
    batcher.close()


def test_a_bad_request_fails_alone() -> None:
    encode = Doubling()
    batcher = Batcher(encode, 8)
    batcher.submit([0])
    assert encode.begun.wait(10)
    bad, good = batcher.submit([5, 13]), batcher.submit([7])
    encode.go.set()
    assert good.result(10) == [14]
    with pytest.raises(ValueError, match="13"):
        bad.result(10)
    batcher.close()


def test_a_full_queue_refuses_with_429() -> None:
    encode = Doubling()
    batcher = Batcher(encode, 1, places=2)
    waiting = [batcher.submit([0])]
    assert encode.begun.wait(10)
    waiting += [batcher.submit([1]), batcher.submit([2])]
    with pytest.raises(Refusal) as refused:
        batcher.submit([3])
    assert refused.value.status == 429 and refused.value.headers["Retry-After"]
    encode.go.set()
    assert [each.result(10) for each in waiting] == [[0], [2], [4]]
    batcher.close()


def test_closing_answers_what_waits() -> None:
    encode = Doubling()
    batcher = Batcher(encode, 1)
    waiting = [batcher.submit([number]) for number in range(5)]
    encode.go.set()
    batcher.close()
    assert [each.result(0) for each in waiting] == [[0], [2], [4], [6], [8]]


def test_memory_keeps_the_latest_texts() -> None:
    memory = Memory(places=2)
    for text in ("a", "b"):
        memory.put(text, (text, 0))  # type: ignore[arg-type]
    assert memory.get("a") == ("a", 0)
    memory.put("c", ("c", 0))  # type: ignore[arg-type]
    assert memory.get("b") is None and memory.get("a") is not None and memory.get("c") is not None
