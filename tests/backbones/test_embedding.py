"""Encoding many texts: each once, shortest together, in the given order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crosscue.backbones.embedding import embed_texts, encode_bucketed


class Recorder:
    """Encodes a text as its length and first letter, and keeps its inputs."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.seen.append(list(texts))
        return torch.tensor([[float(len(text)), float(ord(text[0]))] for text in texts])


@given(st.lists(st.text(alphabet="abcé ", min_size=1, max_size=8), min_size=1, max_size=40), st.integers(1, 7))
def test_each_text_is_encoded_once_and_returned_in_order(texts: list[str], batch_size: int) -> None:
    for run in (
        lambda encode: embed_texts(texts, encode, batch_size=batch_size),
        lambda encode: encode_bucketed(texts, encode, size=batch_size),
    ):
        recorder = Recorder()
        embedded = run(recorder)
        assert embedded.tolist() == [[float(len(text)), float(ord(text[0]))] for text in texts]
        encoded = [text for batch in recorder.seen for text in batch]
        assert sorted(encoded) == sorted(set(texts))
        lengths = [len(text.encode()) for text in encoded]
        assert lengths == sorted(lengths)


def test_gradients_flow_through_the_buckets() -> None:
    weight = torch.ones(1, requires_grad=True)
    embedded = encode_bucketed(
        ["aa", "b", "aa", "cccc"], lambda texts: weight * torch.tensor([[float(len(t))] for t in texts]), size=2
    )
    embedded.sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 2 + 1 + 2 + 4
