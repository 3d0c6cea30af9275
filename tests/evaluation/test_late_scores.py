"""Ranking by token-level scores: tiles against everything at once, and every part of the system with such a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import crosscue
from crosscue import progress as bars
from crosscue.api import before_and_after
from crosscue.backbones.frozen import pixel_store
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import CrosscueError, MethodError
from crosscue.evaluation.example_queries import examples, first_candidates
from crosscue.evaluation.measuring import evaluate
from crosscue.evaluation.ranks import Ranks, rank_scores
from crosscue.evaluation.report import write_report
from crosscue.methods.capabilities import LateInteraction, Tokens
from crosscue.methods.contract import Batch
from crosscue.methods.filip import token_wise
from crosscue.methods.registry import build
from crosscue.retrieval import late_scores as module
from crosscue.retrieval.late_scores import LateScores, TokenStore, late_scores
from crosscue.retrieval.options import Inference
from crosscue.run import Run
from crosscue.testing import similarity
from crosscue.training.config import TrainingConfig
from tests.evaluation.loop import by_hand
from tests.images import draw_noise
from tests.tiny import clip_folder, tiny_backbones

N, PER, PATCHES, WORDS, D = 20, 2, 6, 9, 8
CPU = torch.device("cpu")


class TokenWise(LateInteraction):
    """FILIP's score over random tokens; keeps the inputs of its calls."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        generator = torch.Generator().manual_seed(0)
        self.patches = normalize(torch.randn(N, PATCHES, D, generator=generator), dim=-1)
        self.words = {
            text: normalize(torch.randn(WORDS, D, generator=generator), dim=-1) for text in sorted(set(texts))
        }
        self.length = {text: WORDS - index % WORDS for index, text in enumerate(self.words)}
        self.encoded: list[str] = []
        self.tiles: list[int] = []

    def image_tokens(self, images: Tensor) -> Tokens:
        vectors = self.patches[images]
        return Tokens(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool), vectors[:, 0])

    def text_tokens(self, texts: Sequence[str]) -> Tokens:
        self.encoded += texts
        vectors = torch.stack([self.words[text] for text in texts])
        valid = torch.arange(WORDS) < torch.tensor([self.length[text] for text in texts])[:, None]
        return Tokens(vectors, valid, vectors[:, 0])

    def token_scores(self, images: Tokens, texts: Tokens) -> tuple[Tensor, Tensor]:
        self.tiles.append(images.valid.numel() * texts.valid.numel())
        return token_wise(images.vectors, texts.vectors, texts.valid)


class Numbers:
    """Images by number."""

    def __getitem__(self, indices: Sequence[int], /) -> Tensor:
        return torch.tensor(list(indices))


CAPTIONS = [f"caption {number % 4 if number % 2 == 0 else 100 + number}" for number in range(N * PER)]
"""Two captions are shared by ten images each."""
OWNER = torch.arange(N).repeat_interleave(PER)


@pytest.fixture
def method() -> TokenWise:
    return TokenWise(CAPTIONS)


def scored(method: TokenWise) -> LateScores:
    return late_scores(method, Numbers(), N, CAPTIONS, CPU, batch_size=7)


def everything(method: TokenWise) -> tuple[Tensor, Tensor]:
    """(N, M) and (N, M), one pair at a time."""
    scores = torch.empty(2, N, len(CAPTIONS))
    for image in range(N):
        for place, text in enumerate(CAPTIONS):
            similar = method.patches[image] @ method.words[text][: method.length[text]].T
            scores[:, image, place] = torch.stack([similar.amax(1).mean(), similar.amax(0).mean()])
    return scores[0], scores[1]


@pytest.mark.parametrize("tile", [1, 500, 2_000_000])
def test_tiles_equal_every_pair_by_itself(method: TokenWise, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    scores, (i2t, t2i) = scored(method), everything(method)
    found = scores.block(slice(0, N), slice(0, len(CAPTIONS)))
    torch.testing.assert_close(found[0], i2t, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], t2i, rtol=0, atol=1e-6)
    some = scores.block(slice(3, 9), slice(5, 31))
    torch.testing.assert_close(some[1], t2i[3:9, 5:31], rtol=0, atol=1e-6)
    own = scores.own(OWNER, torch.arange(len(CAPTIONS)))
    torch.testing.assert_close(own[0], i2t[OWNER, torch.arange(len(CAPTIONS))], rtol=0, atol=1e-6)
    torch.testing.assert_close(own[1], t2i[OWNER, torch.arange(len(CAPTIONS))], rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [1, 6, 255])
def test_ranks_equal_the_loop_in_both_directions(method: TokenWise, block: int) -> None:
    def rounded(scores: Tensor) -> np.ndarray:  # closer than TIE is tied
        return (scores.double() / 1e-5).round().numpy()

    i2t, t2i = everything(method)
    positive = np.arange(N)[:, None] == OWNER.numpy()
    wanted = by_hand(rounded(i2t), positive), by_hand(rounded(t2i).T, positive.T)
    for found, right in zip(rank_scores(scored(method), OWNER, block=block), wanted, strict=True):
        for name in Ranks.__annotations__:
            assert np.array_equal(getattr(found, name), getattr(right, name)), name
    assert (wanted[1].tied > 1).sum() == 0
    assert (wanted[0].tied > 1).any(), "equal captions are tied"


def test_a_tile_never_holds_more_than_its_share(method: TokenWise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE", 3_000)
    rank_scores(scored(method), OWNER)
    assert max(method.tiles) <= 3_000 < N * PATCHES * sum(method.length[text] for text in CAPTIONS)


def test_a_long_comparison_shows_its_pairs(
    method: TokenWise, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = scored(method)
    monkeypatch.setattr(module, "TILE", 3_000)
    monkeypatch.setattr(bars, "FIRST", -1.0)
    monkeypatch.setattr(bars, "EVERY", -1.0)
    scores.block(slice(3, 9), slice(0, len(CAPTIONS)))
    lines = capsys.readouterr().err.splitlines()
    pairs = 6 * len(set(CAPTIONS))
    assert len(lines) > 1 and lines[-1].startswith(f"comparing tokens: {pairs}/{pairs} pairs")


def test_each_distinct_caption_is_encoded_once_and_padding_is_not_stored(method: TokenWise) -> None:
    scores = scored(method)
    assert sorted(method.encoded) == sorted(set(CAPTIONS))
    assert sum(map(len, scores.texts.items)) == sum(method.length[text] for text in set(CAPTIONS))
    taken = scores.texts.take(torch.tensor([0, 5, 2]), CPU)
    for row, item in enumerate((0, 5, 2)):
        text = method.encoded[item]
        assert torch.equal(taken.vectors[row][taken.valid[row]], method.words[text][: method.length[text]])
        assert torch.equal(taken.whole[row], method.words[text][0])


def test_a_damaged_token_is_named() -> None:
    vectors = torch.eye(3)[None].repeat(2, 1, 1)
    vectors[1, 2, 0] = torch.nan
    tokens = Tokens(vectors, torch.ones(2, 3, dtype=torch.bool), vectors[:, 0])
    with pytest.raises(CrosscueError, match=r"image 0 or one of the 1 after it.*not finite"):
        TokenStore("image").add(tokens)


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pairs:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    made = []
    for index in range(16):
        draw_noise(tmp_path / f"{index}.png", index)
        texts = (f"a thing {index}", "a red thing" if index < 4 else f"two of {index}")
        split = "train" if index < 8 else "val"
        made.append(Pair(ImageFile(tmp_path / f"{index}.png"), texts, str(index), "thing", split=split))
    return Pairs(made, "things")


def test_a_run_is_trained_validated_compared_and_reported(pairs: Pairs, tmp_path: Path) -> None:
    run = crosscue.adapt(
        pairs,
        "filip",
        str(clip_folder()),
        out=tmp_path / "run",
        options={"context_tokens": 2},
        training=TrainingConfig(epochs=2, batch_size=4, lr=0.05),
        precision="fp32",
    )
    assert run.outcome is not None
    assert run.outcome.best_rsum is not None
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "run.evaluate(" in card
    assert "encode_text" not in card
    val = pairs.split("val")
    comparison = before_and_after(crosscue.load(tmp_path / "run", precision="fp32"), val)
    assert comparison.before.protocol["score"] == "cosine"
    assert comparison.after.protocol["score"] == "token by token, one score a direction"
    assert comparison.after.rsum == pytest.approx(run.outcome.best_rsum)
    changed = examples(comparison, val, "t2i")
    assert changed.rose or changed.fell
    page = write_report(tmp_path / "report", comparison, val)
    assert "token by token" in page.read_text(encoding="utf-8")


def test_shown_images_and_group_recall_follow_the_methods_own_score(pairs: Pairs) -> None:
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    method = build("filip", backbone).eval()
    pixels = pixel_store(pairs.images, backbone, cache=False)
    result = evaluate(method, pairs, pixels)
    _, t2i = similarity(method, Batch(pixels[range(16)], pairs.captions, [p.image_id for p in pairs]))
    for caption in (0, 5, 31):
        assert first_candidates(result, "t2i", caption, 3) == t2i[:, caption].topk(3).indices.tolist()
    assert result.group_aware["t2i"].r1 >= result.t2i.r1
    own = t2i[list(pairs.caption_owner), torch.arange(32)]
    own[[1, 3, 5, 7]] = t2i[:4, 1].max()  # four images share this caption
    better = (t2i > own + 1e-6).sum(0)
    assert result.group_aware["t2i"].r1 == pytest.approx(100 * float((better == 0).float().mean()))


def test_what_such_a_method_cannot_do_is_said(pairs: Pairs) -> None:
    method = build("filip", tiny_backbones["clip"]())
    run = Run(method)
    for ask in (lambda: run.encode_text(["a"]), lambda: run.encode_image(["a.png"])):
        with pytest.raises(MethodError, match="token by token, so one vector each would rank otherwise"):
            ask()
    with pytest.raises(MethodError, match="Leave --centre out"):
        run.evaluate(pairs.split("val"), Inference(centre=True))
