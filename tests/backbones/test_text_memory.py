"""Memory of the values of texts: each computed once, as a set or when it is missing."""

from __future__ import annotations

from collections.abc import Sequence

from crosscue.backbones.text_memory import TextMemory


class Lengths:
    """The lengths of texts, and the batches they were computed in."""

    def __init__(self, most: float) -> None:
        self.batches: list[list[str]] = []
        self.memory = TextMemory(self.compute, most)

    def compute(self, texts: Sequence[str]) -> list[int]:
        self.batches.append(list(texts))
        return [len(text) for text in texts]


def test_a_filled_memory_depends_on_the_set_alone() -> None:
    lengths = Lengths(3)
    lengths.memory.fill(["old"])
    lengths.memory.fill(["bb", "a", "bb", "ccc"])
    assert lengths.batches[-1] == ["a", "bb", "ccc"]
    assert lengths.memory.recall(["ccc", "bb", "bb"]) == [3, 2, 2]
    assert lengths.memory.recall(["ccc", "old"]) is None


def test_a_set_beyond_the_limit_is_not_kept() -> None:
    lengths = Lengths(1)
    lengths.memory.fill(["a", "bb"])
    assert not lengths.batches
    assert lengths.memory.recall(["a"]) is None


def test_a_call_computes_what_is_missing() -> None:
    lengths = Lengths(9)
    assert lengths.memory(["a", "bb", "a"]) == [1, 2, 1]
    assert lengths.memory(["ccc", "a"]) == [3, 1]
    assert lengths.batches == [["a", "bb"], ["ccc"]]


def test_an_emptied_memory_still_answers_for_texts_it_had() -> None:
    lengths = Lengths(1)
    lengths.memory(["a", "bb"])
    assert lengths.memory(["ccc", "a"]) == [3, 1]
    assert set(lengths.memory.known) == {"a", "ccc"}
