"""Re-ranking against a loop, and the inference modes that may and may not see the pairing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.data.pairs import EmbeddedImage, Pair, Pairs
from crosscue.errors import MethodError
from crosscue.evaluation.measuring import rank_embeddings
from crosscue.evaluation.oracle import oracle
from crosscue.evaluation.ranks import Ranks, ranks, reranked
from crosscue.methods.registry import build, method_class
from crosscue.retrieval.bank import Bank
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import EmbeddedPairs, order, rerank
from crosscue.retrieval.scores import Cosines
from tests.tiny import tiny_backbones

N, PER = 12, 3


class Scorer:
    """Scores a pair by the sum of its image's embedding and the number in its caption, a function of the pair alone."""

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
    return reranked(rerank(Cosines(images, texts), EmbeddedPairs(method, images, strings), top=top), owner, plain)


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
    """The scorer receives the same pairs in the same order whatever is right."""
    images, texts, strings, owner = embedded
    scored: list[list[float]] = []

    class Recorder(Scorer):
        def pair_scores(self, images: Tensor, plain: Tensor, texts: Sequence[str]) -> Tensor:
            scores = super().pair_scores(images, plain, texts)
            scored.append(scores.tolist())
            return scores

    for pairing in (owner, owner.roll(PER)):
        again(Recorder(), images, texts, strings, pairing, ranks(images, texts, pairing), top=4)
    half = len(scored) // 2
    assert scored[:half] == scored[half:]


def test_corrected_scores_pre_select_and_are_a_part_of_the_new_ones(
    embedded: tuple[Tensor, Tensor, list[str], Tensor],
) -> None:
    """A bank corrects images and captions by different amounts, so each direction has scores of its own."""
    images, texts, strings, _ = embedded
    generator = torch.Generator().manual_seed(4)
    bank = Bank(Cosines(*(normalize(torch.randn(n, 8, generator=generator), dim=-1) for n in (5, 7))), beta=6.0)
    pairs = Pairs(
        Pair(EmbeddedImage(f"{i}.jpg", bytes), tuple(strings[PER * i : PER * i + PER]), str(i)) for i in range(N)
    )
    options = Inference(rerank=True, top=4, normalise="bank")
    ranked = rank_embeddings(pairs, images, texts, options, EmbeddedPairs(Scorer(0.2), images, strings), bank)
    assert ranked.again is not None
    assert isinstance(bank.scores, Cosines)
    cosines, new = images @ texts.T, torch.sin(13 * images.sum(-1)[:, None] + torch.arange(float(N * PER)))
    of_captions = (6 * texts @ bank.scores.images.T).exp().mean(1).log() / 6
    of_images = (6 * images @ bank.scores.texts.T).exp().mean(1).log() / 6
    i2t, t2i = cosines - of_captions, cosines - of_images[:, None]
    i2t_again, t2i_again = ranked.again
    for image in range(N):
        chosen = i2t[image].topk(4).indices
        assert i2t_again.caption[image].tolist() == chosen.tolist()
        torch.testing.assert_close(i2t_again.scores[image], (0.8 * i2t + 0.2 * new)[image, chosen])
    for text in range(N * PER):
        chosen = t2i[:, text].topk(4).indices
        assert t2i_again.image[text].tolist() == chosen.tolist()
        torch.testing.assert_close(t2i_again.scores[text], (0.8 * t2i + 0.2 * new)[chosen, text])


def test_progress_counts_every_query_of_both_directions(
    embedded: tuple[Tensor, Tensor, list[str], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, texts, strings, _ = embedded
    totals, steps = [], []

    @contextlib.contextmanager
    def counted(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        totals.append(total)
        yield steps.append

    monkeypatch.setattr("crosscue.retrieval.reranking.progress", counted)
    monkeypatch.setattr("crosscue.retrieval.reranking.QUERIES_AT_ONCE", 5)
    rerank(Cosines(images, texts), EmbeddedPairs(Scorer(), images, strings), top=4)
    assert totals == [sum(steps)] == [N + N * PER]


def test_candidates_scored_again_come_first_and_the_others_follow_in_their_order() -> None:
    plain = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.3])
    assert order(plain, torch.tensor([1, 3]), torch.tensor([0.2, 0.4])).tolist() == [3, 1, 2, 4, 0]
    assert order(plain, torch.tensor([], dtype=torch.int64), torch.tensor([])).tolist() == [1, 3, 2, 4, 0]


def test_options_that_a_method_does_not_have_are_refused() -> None:
    dcar, zero_shot, action, filip = (method_class(name) for name in ("dcar", "zero_shot", "action", "filip"))
    for method in (dcar, action):
        Inference(rerank=True).check(method)
    Inference("prior", centre=True).check(dcar)
    for method, options, words in (
        (
            dcar,
            {"mode": "priro"},
            r"no text mode 'priro' with these options. Did you mean 'prior'. Choose from: caa, plain, prior",
        ),
        (zero_shot, {"mode": "prior"}, r"no text mode 'prior'.*Choose from: plain"),
        (zero_shot, {"rerank": True}, "method 'zero_shot' has no scores of pairs.*Leave --rerank out"),
        (filip, {"rerank": True}, "method 'filip' has no scores of pairs"),
        (dcar, {"views": "a.jsonl"}, "adds no descriptions to a gallery. Leave --views out"),
        (method_class("acke"), {"views": "a.jsonl", "rerank": True}, "Leave out --views or --rerank"),
        (filip, {"centre": True}, "token by token.*Leave --centre out"),
        (dcar, {"top": 0}, "top is 0"),
        (build("acke", tiny_backbones["clip"]()), {"rerank": True}, "re-ranking needs acp pairwise"),
    ):
        with pytest.raises(MethodError, match=words):
            Inference(**options).check(method)


def test_the_oracle_is_a_diagnostic_with_a_stamp() -> None:
    """With weights that follow the image, a caption beside its own image is not the caption alone."""
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    method = build("dcar", backbone, {"ca": False}).eval()
    pixels = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    texts = ["a red thing", "two dogs on a thing", "the cat is green", "a photo of a dog"]
    pairs = Pairs(Pair(EmbeddedImage(f"{i}.jpg", bytes), (text,), str(i)) for i, text in enumerate(texts))
    found = oracle(method, pairs, pixels)
    assert found.protocol["oracle"]
    assert not found.comparable
    with torch.no_grad():
        beside = method.text_given_image(texts, method.encode_image(pixels))
    assert isinstance(found.scores, Cosines)
    torch.testing.assert_close(found.scores.texts, beside, rtol=0, atol=1e-6)
    assert not torch.allclose(found.scores.texts, method.encode_text(texts), atol=1e-3)
    with pytest.raises(MethodError, match="Leave --oracle out"):
        oracle(build("zero_shot", backbone), pairs, pixels)
