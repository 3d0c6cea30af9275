"""FILIP's score against a loop, and what padding may not do."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from crosscue.methods.contract import Batch
from crosscue.methods.filip import Filip, FilipConfig, token_wise
from crosscue.testing import eight_pairs
from crosscue.training.optimisers import select_trainable
from tests.methods.formulas import pair_cross_entropies, require_equal_gradients, shared
from tests.tiny import tiny_backbones


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def valid_of(lengths: list[int], longest: int) -> Tensor:
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def test_single_tokens_score_their_cosine() -> None:
    a, b = vectors(3, 1, 8), vectors(4, 1, 8, seed=1)
    cosine = a[:, 0] @ b[:, 0].T
    for scores in token_wise(a, b, torch.ones(4, 1, dtype=torch.bool)):
        torch.testing.assert_close(scores, cosine, rtol=0, atol=1e-12)


def test_scores_equal_the_loop_and_differ_by_direction() -> None:
    patches, words, lengths = vectors(3, 5, 8), vectors(4, 6, 8, seed=1), [6, 2, 1, 4]
    i2t, t2i = token_wise(patches, words, valid_of(lengths, 6))
    for image in range(3):
        for text, length in enumerate(lengths):
            similar = patches[image] @ words[text, :length].T  # (P, n)
            assert i2t[image, text] == pytest.approx(float(similar.amax(1).mean()), abs=1e-12)
            assert t2i[image, text] == pytest.approx(float(similar.amax(0).mean()), abs=1e-12)
    assert (i2t - t2i).abs().max() > 0.05


def test_padding_is_never_chosen() -> None:
    patches, words = vectors(3, 5, 8), vectors(4, 6, 8, seed=1)
    valid = valid_of([6, 2, 1, 4], 6)
    plain = token_wise(patches, words, valid)
    tempting = torch.where(valid[..., None], words, 1000 * patches[0, 0])  # padding that every patch would like
    for scores, other in zip(plain, token_wise(patches, tempting, valid), strict=True):
        assert torch.equal(scores, other)
    assert token_wise(patches, tempting, torch.ones_like(valid))[0].max() > 100


@pytest.fixture
def method() -> Filip:
    torch.manual_seed(0)
    return Filip(tiny_backbones["clip"](), FilipConfig(context_tokens=2)).eval()


def test_valid_words_are_the_pieces_and_the_end_token(method: Filip) -> None:
    texts = ["a red thing", "two dogs on a black cat"]
    tokens = method.text_tokens(texts)
    assert tokens.valid.sum(1).tolist() == [method.backbone.token_count(text) + 1 for text in texts]
    assert not tokens.valid[:, 0].any(), "the start token says nothing about the caption"
    alone = method.text_tokens(texts[:1])
    torch.testing.assert_close(alone.vectors[0][alone.valid[0]], tokens.vectors[0][tokens.valid[0]])


def test_heads_start_as_the_identity(method: Filip) -> None:
    batch = eight_pairs(method.backbone)
    patches = method.read_images(batch.images).patches
    torch.testing.assert_close(method.image_tokens(batch.images).vectors, normalize(patches, dim=-1))


def test_loss_is_the_mean_of_both_cross_entropies(method: Filip) -> None:
    batch, scale = eight_pairs(method.backbone), method.backbone.logit_scale
    i2t, t2i = method.token_scores(method.image_tokens(batch.images), method.text_tokens(batch.captions))
    halves = {"i2t": cross_entropy(scale * i2t, torch.arange(8)), "t2i": cross_entropy(scale * t2i.T, torch.arange(8))}
    for directions, wanted in {**halves, "both": (halves["i2t"] + halves["t2i"]) / 2}.items():
        method.config = dataclasses.replace(method.config, directions=directions)
        torch.testing.assert_close(method.losses(batch)["token_loss"], wanted)


def test_global_weight_adds_the_cosine_of_the_pooled_features(method: Filip) -> None:
    batch = eight_pairs(method.backbone)
    images, texts = method.image_tokens(batch.images), method.text_tokens(batch.captions)
    plain = method.token_scores(images, texts)
    method.config = dataclasses.replace(method.config, global_weight=0.5)
    pooled = normalize(method.read_images(batch.images).pooled, dim=-1)
    words = normalize(method.read_texts(method.tokenize(batch.captions)).pooled, dim=-1)
    for before, after in zip(plain, method.token_scores(images, texts), strict=True):
        torch.testing.assert_close(after, before + 0.5 * pooled @ words.T)


def test_pad_bug_changes_training_and_nothing_else(method: Filip) -> None:
    batch = eight_pairs(method.backbone)
    batch = Batch(batch.images, ["a red thing on a black cat", *batch.captions[1:]], batch.image_ids)
    right, scores = method.losses(batch)["token_loss"], method.text_tokens(batch.captions)
    method.config = dataclasses.replace(method.config, pad_bug=True)
    assert not torch.allclose(method.losses(batch)["token_loss"], right)
    assert torch.equal(method.text_tokens(batch.captions).valid, scores.valid)


CAPTIONS = [
    "a red thing on a black cat",
    "pink",
    "two dogs",
    "a red thing on a black cat",
    "the blue dog is on the cat",
]
IDS = ["0", "1", "2", "3", "1"]


@torch.no_grad()
def turn_heads(method: Filip, images: Tensor) -> None:
    """Change the heads so that best matches have both signs: patches agree, and words do not."""
    common = normalize(method.read_images(images).patches.mean((0, 1)), dim=0)
    torch.manual_seed(2)
    method.image_head.weight.normal_(std=0.2).add_(3 * torch.outer(common, common))
    method.text_head.weight.normal_(std=0.2).sub_(0.15 * torch.outer(common, torch.ones(32)))


def scores_by_the_formula(method: Filip, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return both scores (5, 5) from the features of the towers, one text at a time, so that there is no padding."""
    features, best = method.read_images(images), []
    patches = normalize(features.patches @ method.image_head.weight.T, dim=-1)  # (5, P, D)
    i2t, t2i = torch.zeros(5, 5), torch.zeros(5, 5)
    for column, caption in enumerate(CAPTIONS):
        read = method.read_texts(method.tokenize([caption]))
        words = read.tokens[0, 1 : method.backbone.token_count(caption) + 2]  # no start token, but the end token
        words = normalize(words @ method.text_head.weight.T, dim=-1)
        for row in range(5):
            similar = torch.stack([torch.stack([(patch * word).sum() for word in words]) for patch in patches[row]])
            whole = 0.3 * torch.cosine_similarity(features.pooled[row], read.pooled[0], dim=0)
            i2t[row, column] = torch.stack([of_patch.max() for of_patch in similar]).mean() + whole
            t2i[row, column] = torch.stack([of_word.max() for of_word in similar.T]).mean() + whole
            best += [*similar.amax(0).tolist(), *similar.amax(1).tolist()]
    assert min(best) < -0.05, "no best match is negative: padding of 0 would not be seen"
    assert max(best) > 0.05
    assert (i2t - t2i).abs().max() > 0.05
    return i2t, t2i


@pytest.mark.parametrize("directions", ["both", "i2t", "t2i"])
def test_the_whole_loss_and_its_gradient_by_the_formula(method: Filip, directions: str) -> None:
    learned, scale = dict(select_trainable(method)), method.backbone.logit_scale
    batch = Batch(eight_pairs(method.backbone).images[:5], CAPTIONS, IDS)
    method.config = dataclasses.replace(method.config, directions=directions, global_weight=0.3)
    turn_heads(method, batch.images)
    i2t, t2i = scores_by_the_formula(method, batch.images)
    same = shared(CAPTIONS, IDS)
    halves = {"i2t": pair_cross_entropies(scale * i2t, same), "t2i": pair_cross_entropies(scale * t2i.T, same)}
    wanted = (halves["i2t"] + halves["t2i"]) / 2 if directions == "both" else halves[directions]
    found = method.losses(batch)["token_loss"]
    torch.testing.assert_close(found, wanted.mean(), rtol=1e-3, atol=1e-4)
    require_equal_gradients(found, wanted.mean(), learned)
