"""Re-ranking against a loop, and the inference modes that may and may not see the pairing."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.errors import MethodError
from crosscue.evaluation.ranks import Ranks, ranks, reranked
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import EmbeddedPairs, rerank

N, PER = 12, 3


class Scorer:
    """Scores a pair by the sum of its picture's embedding and the number in its caption, a function of the pair alone."""

    backbone = SimpleNamespace(device=torch.device("cpu"))

    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def pair_scores(self, images: Tensor, plain: Tensor, texts: Sequence[str]) -> Tensor:
        numbers = torch.tensor([float(text.split()[-1]) for text in texts])
        return (1 - self.share) * plain + self.share * torch.sin(13 * images.sum(-1) + numbers)


def again(
    method: Scorer,
    images: Tensor,
    texts: Tensor,
    strings: list[str],
    owner: Tensor,
    plain: tuple[Ranks, Ranks],
    top: int,
) -> tuple[Ranks, Ranks]:
    return reranked(rerank(images, texts, EmbeddedPairs(method, images, strings), top=top), owner, plain)


@pytest.fixture
def embedded() -> tuple[Tensor, Tensor, list[str], Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = normalize(torch.randn(N, 8, generator=generator), dim=-1)
    texts = normalize(torch.randn(N * PER, 8, generator=generator), dim=-1)
    return images, texts, [f"caption {number}" for number in range(N * PER)], torch.arange(N).repeat_interleave(PER)


def test_all_candidates_again_is_ranking_by_the_pair_scores(
    embedded: tuple[Tensor, Tensor, list[str], Tensor],
) -> None:
    images, texts, strings, owner = embedded
    method = Scorer()
    i2t, t2i = again(method, images, texts, strings, owner, ranks(images, texts, owner), top=100)
    full = torch.stack([method.pair_scores(image.expand(len(texts), -1), texts[:, 0], strings) for image in images])
    for image in range(N):
        best = full[image, owner == image].max()
        assert i2t.better[image] == int((full[image] > best + 1e-6).sum())
    for text in range(len(texts)):
        assert t2i.better[text] == int((full[:, text] > full[owner[text], text] + 1e-6).sum())


def test_a_share_of_zero_and_one_candidate_change_nothing(embedded: tuple[Tensor, Tensor, list[str], Tensor]) -> None:
    images, texts, strings, owner = embedded
    plain = ranks(images, texts, owner)
    for method, top in ((Scorer(0.0), 7), (Scorer(), 1)):
        for before, after in zip(plain, again(method, images, texts, strings, owner, plain, top=top), strict=True):
            assert (before.better == after.better).all()
            assert (before.tied_positives == after.tied_positives).all()


def test_recall_at_the_depth_of_re_ranking_stays(embedded: tuple[Tensor, Tensor, list[str], Tensor]) -> None:
    images, texts, strings, owner = embedded
    plain = ranks(images, texts, owner)
    changed = 0
    for before, after in zip(plain, again(Scorer(), images, texts, strings, owner, plain, top=5), strict=True):
        assert ((before.better < 5) == (after.better < 5)).all()
        assert (before.better[before.better >= 5] == after.better[before.better >= 5]).all()
        changed += int(np.sum(before.better != after.better))
    assert changed > 5


def test_the_pairing_is_only_read_off(embedded: tuple[Tensor, Tensor, list[str], Tensor]) -> None:
    """The scorer is asked for the same pairs in the same order whatever is right."""
    images, texts, strings, owner = embedded
    asked: list[list[float]] = []

    class Recorder(Scorer):
        def pair_scores(self, images: Tensor, plain: Tensor, texts: Sequence[str]) -> Tensor:
            scores = super().pair_scores(images, plain, texts)
            asked.append(scores.tolist())
            return scores

    for pairing in (owner, owner.roll(PER)):
        again(Recorder(), images, texts, strings, pairing, ranks(images, texts, pairing), top=4)
    half = len(asked) // 2
    assert asked[:half] == asked[half:]


def test_an_oracle_has_to_be_asked_for_twice() -> None:
    method = SimpleNamespace(name="dcar", inference_modes=("plain", "prior", "oracle"))
    Inference("prior").check(method)
    with pytest.raises(MethodError, match=r"sees the answer.*--allow_oracle"):
        Inference("oracle").check(method)
    Inference("oracle", allow_oracle=True).check(method)
    with pytest.raises(MethodError, match=r"no inference mode 'priro'. Did you mean 'prior'"):
        Inference("priro").check(method)
