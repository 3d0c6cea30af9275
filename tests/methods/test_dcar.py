"""DCAR's own equations: token weights, the category-aware loss, and what inference may see."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.token_weights import TokenWeights
from crosscue.data.pairs import Negative
from crosscue.errors import MethodError
from crosscue.losses.category import category_aware
from crosscue.methods.contract import Batch
from crosscue.methods.dcar.category import CategoryHead
from crosscue.methods.dcar.config import DcarConfig
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.dcar.weighting import share
from crosscue.methods.registry import build
from crosscue.retrieval.options import Inference
from crosscue.training.config import TrainingConfig
from crosscue.training.optimisers import optimizer
from tests import tiny
from tests.tiny import square_clip, tiny_backbones

TEXTS = ["a red thing", "two dogs on a black cat in the white photo", "pink", "the blue dog is on the grey cat"]


def dcar(family: str = "clip", **options: Any) -> Dcar:
    torch.manual_seed(0)
    method = build("dcar", tiny_backbones[family](), {"context_tokens": 2, "category_width": 16, **options})
    assert isinstance(method, Dcar)
    return method


def unit(rows: int, width: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def batch(negatives: list[list[Negative]] | None = None, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 3, tiny.SIZE, tiny.SIZE), dtype=torch.uint8, generator=generator)
    if negatives is None:
        negatives = [[Negative(f"{text} cat", "category"), Negative(f"green {text}", "attribute")] for text in TEXTS]
    return Batch(pixels, TEXTS, [str(row) for row in range(4)], list("abcd"), negatives)


def rho(method: Dcar, images: Tensor, blank: Tensor) -> Tensor:
    return method.token_weights(TEXTS, method.tokenize(TEXTS), images, blank)


# --- token weights --------------------------------------------------------------------------------


def test_weights_of_one_change_nothing() -> None:
    method = dcar()
    tokens = method.tokenize(TEXTS)
    with torch.no_grad():
        ones = TokenWeights(torch.ones(tokens.ids.shape))
        torch.testing.assert_close(method.read(tokens, ones), method.read(tokens), atol=1e-5, rtol=0)


def test_an_image_like_the_blank_one_gives_uniform_weights() -> None:
    method, width = dcar(), tiny_backbones["clip"]().embed_dim
    blank = unit(1, width)[0]
    weights = rho(method, blank.expand(4, -1), blank)
    assert torch.equal(weights, torch.ones_like(weights))


def test_abs_does_not_see_the_sign_and_is_the_sum_of_its_halves() -> None:
    width = tiny_backbones["clip"]().embed_dim
    images, blank = unit(4, width, 1), unit(1, width, 2)[0]
    tokens = dcar().tokenize(TEXTS)
    content, count = tokens.content, tokens.content.sum(1, keepdim=True)
    features = dcar().token_features(TEXTS, tokens)
    difference = features @ blank - torch.einsum("bnd,bd->bn", features, images)
    kinds = {"abs": difference.abs(), "relu": (-difference).clamp(min=0), "flipped": difference.clamp(min=0)}
    raw = {}
    for kind, values in kinds.items():
        total = (values * content).sum(1, keepdim=True)
        expected = torch.where(total > 0, values * content * count / total.clamp(min=1e-12), content)
        raw[kind] = rho(dcar(weights=kind), images, blank) * content
        torch.testing.assert_close(raw[kind], expected)
        raw[kind] = raw[kind] * total
    torch.testing.assert_close(raw["relu"] + raw["flipped"], raw["abs"])


def test_exchanging_image_and_blank_exchanges_the_halves() -> None:
    image, blank = unit(1, 32, 1), unit(1, 32, 2)

    def weights(kind: str, one: Tensor, other: Tensor) -> Tensor:
        return rho(dcar(weights=kind), one.expand(4, -1), other[0])

    torch.testing.assert_close(weights("abs", image, blank), weights("abs", blank, image))
    torch.testing.assert_close(weights("relu", image, blank), weights("flipped", blank, image))
    assert not torch.allclose(weights("relu", image, blank), weights("relu", blank, image))


@pytest.mark.parametrize("kind", ["abs", "relu", "flipped"])
@pytest.mark.parametrize("similarity", ["cos", "exp"])
def test_weights_average_one_over_the_words_only(kind: str, similarity: str) -> None:
    method = dcar(weights=kind, similarity=similarity)
    tokens, width = method.tokenize(TEXTS), method.backbone.embed_dim
    weights = rho(method, unit(4, width, 1), unit(1, width, 2)[0])
    mean = (weights * tokens.content).sum(1) / tokens.content.sum(1)
    torch.testing.assert_close(mean, torch.ones(4))
    assert (weights[~tokens.content] == 1).all()
    assert (weights[tokens.content] != 1).any()


def test_the_literal_rescale_is_mean_one_divided_by_the_number_of_words() -> None:
    images, blank = unit(4, 32, 1), unit(1, 32, 2)[0]
    one, literal = (rho(dcar(rescale=kind), images, blank) for kind in ("mean_one", "literal"))
    content = dcar().tokenize(TEXTS).content
    count = content.sum(1, keepdim=True)
    torch.testing.assert_close((literal * count)[content], one[content])


def test_words_that_all_differ_by_nothing_share_alike() -> None:
    content = torch.tensor([[False, True, True, True, False], [False, True, False, False, False]])
    shares = share(torch.zeros(2, 5), content)
    torch.testing.assert_close(shares, torch.tensor([[0, 1 / 3, 1 / 3, 1 / 3, 0], [0, 1, 0, 0, 0]]))
    given = torch.tensor([[0.0, 3.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(share(given, content), torch.tensor([[0, 0.75, 0.25, 0, 0], [0, 1, 0, 0, 0]]))


@torch.no_grad()
def test_input_features_are_the_word_embeddings_as_unit_vectors() -> None:
    backbone = square_clip()
    method = build("dcar", backbone, {"context_tokens": 2, "token_feature": "input"})
    tokens = method.tokenize(TEXTS)
    found = method.token_features(TEXTS, tokens)
    for row, ids in enumerate(tokens.ids):
        for place in tokens.content[row].nonzero()[:, 0].tolist():
            word = backbone.word_embedding(ids[place : place + 1])[0].float()
            torch.testing.assert_close(found[row, place], word / word.norm())


def test_blending_and_limits() -> None:
    images, blank = unit(4, 32, 1), unit(1, 32, 2)[0]
    content = dcar().tokenize(TEXTS).content
    assert torch.allclose(rho(dcar(blend=0.0), images, blank), torch.ones(1))
    limited = rho(dcar(largest=1.5), images, blank)
    assert limited[content].max() < rho(dcar(), images, blank)[content].max()


def test_controls_move_the_weights() -> None:
    images, blank = unit(4, 32, 1), unit(1, 32, 2)[0]
    content = dcar().tokenize(TEXTS).content
    own, mixed = rho(dcar(), images, blank), rho(dcar(weight_control="shuffled"), images, blank)
    assert not torch.equal(own, mixed)
    for row in range(4):
        torch.testing.assert_close(own[row, content[row]].sort().values, mixed[row, content[row]].sort().values)
    one, other = dcar(), dcar(weight_control="wrong_image")
    assert one.losses(batch())["contrastive_loss"] != other.losses(batch())["contrastive_loss"]
    assert one.losses(batch())["category_loss"] == other.losses(batch())["category_loss"]


def test_no_gradient_flows_through_the_weights() -> None:
    method = dcar(token_features_from="prompted")
    images = method.encode_image(batch().images)
    assert images.requires_grad
    assert not rho(method, images, method.blank_feature()).requires_grad


@pytest.mark.parametrize("feature", ["projected", "word"])
def test_remembered_token_features_equal_fresh_ones(feature: str) -> None:
    method = dcar(token_feature=feature)
    tokens = method.tokenize(TEXTS)
    first = method.token_features(TEXTS, tokens)
    method.remember([*TEXTS, "something else"])
    assert len(method.token_features.memory.known) == len({*TEXTS}) + 1
    again = method.token_features(TEXTS[::-1], method.tokenize(TEXTS[::-1])).flip(0)
    torch.testing.assert_close(first, again)
    norms = first.norm(dim=-1)
    torch.testing.assert_close(norms[tokens.content], torch.ones(int(tokens.content.sum())))
    assert (norms[~tokens.content] == 0).all()
    method.remember([])
    assert not method.token_features.memory.known


def test_the_pieces_of_a_word_share_its_feature() -> None:
    method = dcar(token_feature="word")
    tokens = method.tokenize(["a zebra"])  # the tiny tokenizer spells words it does not know
    features = method.token_features(["a zebra"], tokens)[0, tokens.content[0]]
    assert len(features) == 6
    assert all(torch.equal(features[1], piece) for piece in features[2:])
    assert not torch.equal(features[0], features[1])


def test_word_embeddings_are_refused_where_widths_differ() -> None:
    with pytest.raises(MethodError, match=r"width 96 with image features of width 32. Use token_feature=projected"):
        dcar(token_feature="input")


@pytest.mark.parametrize("blank", ["white", "black", "mean", "noise"])
def test_blank_images_differ_and_are_stable(blank: str) -> None:
    feature = dcar(blank=blank).blank_feature()
    assert torch.equal(feature, dcar(blank=blank).blank_feature())
    others = [dcar(blank=other).blank_feature() for other in ("white", "black", "mean", "noise") if other != blank]
    assert all(not torch.allclose(feature, other, atol=1e-4) for other in others)


@torch.no_grad()
def test_without_image_prompts_the_image_tower_is_run_once() -> None:
    method = dcar("dual", image_prompts=False, weights_image="frozen", tune_projection=True)
    assert method.image_use.frozen_layers == "pooled"
    assert not method.image_use.untouched
    assert not any("coupling" in name for name in method.learned_state())
    features = method.backbone.encode_image(batch().images)
    torch.testing.assert_close(method.encode_image(batch().images), normalize(features.pooled, dim=-1))
    once = replace(batch(), images=features)
    torch.testing.assert_close(method.losses(once)["contrastive_loss"], method.losses(batch())["contrastive_loss"])
    torch.testing.assert_close(method.pair_features(features), method.pair_features(batch().images))


# --- the losses ---------------------------------------------------------------------------------------


def test_everything_off_is_the_plain_dual_prompt() -> None:
    plain = build("dual_prompt", tiny_backbones["clip"](), {"context_tokens": 2})
    method = dcar(tw=False, ca=False, lambda1=1.0)
    plain.load_learned_state(
        {name: tensor for name, tensor in method.learned_state().items() if name.startswith("prompts.")}
    )
    losses = [one.losses(batch())["contrastive_loss"] for one in (plain, method)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for (name, ours), (_, theirs) in zip(
        method.prompts.named_parameters(), plain.prompts.named_parameters(), strict=True
    ):
        assert torch.equal(ours.grad, theirs.grad), name


def cate(alpha: float, kinds: list[str], scale: float = 10.0) -> float:
    images, positives, negatives = unit(3, 8, 1), unit(3, 8, 2), unit(12, 8, 3).view(3, 4, 8)
    weights = torch.tensor([[1.0 if kind == "category" else 1 + alpha for kind in kinds]] * 3)
    return float(category_aware(images, positives, negatives, weights, 1 + alpha, torch.tensor(scale)))


def test_alpha_zero_is_the_unweighted_loss() -> None:
    images, positives, negatives = unit(3, 8, 1), unit(3, 8, 2), unit(12, 8, 3).view(3, 4, 8)
    logits = 10 * torch.cat(
        [(images * positives).sum(-1, keepdim=True), torch.einsum("bd,bqd->bq", images, negatives)], 1
    )
    expected = -logits.log_softmax(1)[:, 0].mean()
    for kinds in (["category"] * 4, ["attribute"] * 4, ["category", "attribute"] * 2):
        assert cate(0.0, kinds) == pytest.approx(float(expected), rel=1e-5)


def test_alpha_only_counts_category_negatives_less() -> None:
    alpha, kinds = 1.5, ["category", "category", "attribute", "attribute"]
    images, positives, negatives = unit(3, 8, 1), unit(3, 8, 2), unit(12, 8, 3).view(3, 4, 8)
    gap = 10 * (torch.einsum("bd,bqd->bq", images, negatives) - (images * positives).sum(-1, keepdim=True))
    closed = (1 + gap[:, 2:].exp().sum(1) + gap[:, :2].exp().sum(1) / (1 + alpha)).log().mean()
    assert cate(alpha, kinds) == pytest.approx(float(closed), rel=1e-5)
    assert cate(1e9, ["category"] * 4) == pytest.approx(0, abs=1e-6)
    assert cate(1e9, ["attribute"] * 4) == pytest.approx(cate(0.0, ["attribute"] * 4), rel=1e-5)


def test_a_caption_without_negatives_costs_nothing() -> None:
    method = dcar(category_reduction="sum")
    some = batch([[Negative("a red dog", "category")], [], [], []])
    one = method.losses(some)["category_loss"]
    alone = Batch(some.images[:1], TEXTS[:1], ["0"], ["a"], [[Negative("a red dog", "category")]])
    torch.testing.assert_close(one, method.losses(alone)["category_loss"])
    with pytest.raises(MethodError, match=r"needs negatives.*crosscue data negatives"):
        method.losses(batch([[], [], [], []]))


def test_mean_and_sum_differ_by_the_batch() -> None:
    mean, total = (dcar(category_reduction=kind).losses(batch())["category_loss"] for kind in ("mean", "sum"))
    torch.testing.assert_close(4 * mean, total)


def test_the_category_path_may_go_without_the_context() -> None:
    method, bare = dcar(tw=False), dcar(tw=False, category_prompt=False)
    with_context, without = method.losses(batch()), bare.losses(batch())
    assert torch.allclose(with_context["contrastive_loss"], without["contrastive_loss"])
    assert not torch.allclose(with_context["category_loss"], without["category_loss"], atol=1e-4)
    bare.prompts.context[0].data += 1.0
    images = normalize(torch.ones(4, 32), dim=-1)
    before, after = (one.category_loss(images, batch())[1] for one in (dcar(category_prompt=False), bare))
    assert torch.equal(before, after), "the context does not reach the category path"


def test_frozen_weighing_images_come_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    method = dcar(weights_image="frozen", ca=False)
    assert method.image_use.untouched
    assert not dcar(weights_image="prompted").image_use.untouched
    assert not dcar(weights_image="frozen", tw=False).image_use.untouched
    first = method.losses(batch())["contrastive_loss"]
    with torch.no_grad():
        known = replace(batch(), untouched=method.backbone.encode_image(batch().images))
    monkeypatch.setattr(
        method.backbone,
        "encode_image",
        lambda images, prompts=None: 1 / 0 if prompts is None else real(images, prompts),
    )
    real = type(method.backbone).encode_image.__get__(method.backbone)
    assert torch.equal(method.losses(known)["contrastive_loss"], first)


def test_the_lambdas_weigh_the_losses() -> None:
    one = dcar(lambda1=1.0, lambda2=1.0).losses(batch())
    other = dcar(lambda1=0.8, lambda2=0.2).losses(batch())
    torch.testing.assert_close(0.8 * one["contrastive_loss"], other["contrastive_loss"])
    torch.testing.assert_close(0.2 * one["category_loss"], other["category_loss"])


def test_the_residual_head_starts_as_the_identity() -> None:
    texts = unit(5, 32)
    assert torch.equal(CategoryHead(32, 16, "residual_zero")(texts), texts)
    assert not torch.allclose(CategoryHead(32, 16, "plain_relu")(texts), texts)
    linear = CategoryHead(32, 16, "plain_linear")
    zero = linear(torch.zeros(1, 32))
    torch.testing.assert_close(linear(texts[:1] + texts[1:2]) - zero, linear(texts[:1]) + linear(texts[1:2]) - 2 * zero)


def test_without_a_head_negatives_act_on_the_prompts() -> None:
    method = dcar(category_head="none", tw=False, category_reduction="sum", lambda2=1.0)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"backbone", "prompts"}
    assert method.text_modes == ("plain",)
    with torch.no_grad():
        images, texts = method.encode_image(batch().images), method.encode_text(TEXTS)
        negatives = torch.stack(
            [
                method.encode_text([f"{text} cat" for text in TEXTS]),
                method.encode_text([f"green {text}" for text in TEXTS]),
            ],
            1,
        )
        gap = method.scale * ((negatives * images[:, None]).sum(-1) - (images * texts).sum(-1, keepdim=True))
        expected = (1 + gap[:, 0].exp() / 1.5 + gap[:, 1].exp()).log().sum()
    loss = method.losses(batch())["category_loss"]
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert method.prompts.context[0].grad.abs().sum() > 0


def test_the_head_reads_unit_vectors_in_training_and_at_test_time() -> None:
    """A head trained on unit vectors would read vectors of another length otherwise."""
    method = dcar()
    torch.nn.init.normal_(method.category.second.weight)
    with torch.no_grad():
        unit_texts = method.encode_text(TEXTS)
        torch.testing.assert_close(
            method.encode_text(TEXTS, "caa"), normalize(method.category(unit_texts), dim=-1), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("tw", [False, True])
def test_the_contrast_may_read_texts_through_the_head(tw: bool) -> None:
    method, without = (dcar(tw=tw, category_in_contrast=through) for through in (True, False))
    assert method.text_modes[0] == "caa"
    for one in (method, without):
        torch.manual_seed(3)
        torch.nn.init.normal_(one.category.second.weight)
    first, second = method.losses(batch()), without.losses(batch())
    torch.testing.assert_close(first["category_loss"], second["category_loss"])
    with torch.no_grad():
        images = without.encode_image(batch().images)
        texts = without.weighted(TEXTS, images) if tw else without.encode_text(TEXTS)
        scores = without.scale * images @ normalize(without.category(texts), dim=-1).T
    expected = -(scores.log_softmax(1).diag().mean() + scores.log_softmax(0).diag().mean())
    torch.testing.assert_close(first["contrastive_loss"], 0.8 * expected)
    assert not torch.allclose(first["contrastive_loss"], second["contrastive_loss"], atol=1e-3)
    first["contrastive_loss"].backward()
    assert method.category.second.weight.grad.abs().sum() > 0
    with pytest.raises(MethodError, match=r"needs a category head.*--options.category_head residual_zero"):
        dcar(category_head="none", category_in_contrast=True)


def test_the_head_has_a_rate_of_its_own() -> None:
    method = dcar(category_lr_scale=0.01)
    config = TrainingConfig(lr=0.5)
    rates = {id(p): group["lr"] for group in optimizer(method, config).param_groups for p in group["params"]}
    assert rates[id(method.category.first.weight)] == pytest.approx(0.005)
    assert rates[id(method.prompts.context[0])] == pytest.approx(0.5)


def test_the_literal_temperature_is_none() -> None:
    assert dcar(temperature="literal").scale == 1
    assert dcar().scale == pytest.approx(float(tiny_backbones["clip"]().logit_scale))


def test_switches_choose_what_is_learned() -> None:
    def names(**options: bool) -> set[str]:
        return {name.split(".")[0] for name in dcar(**options).learned_state()} - {"mean_image"}

    assert names() == {"prompts", "category"}
    assert names(ca=False) == {"prompts"}
    assert names(dp=False) == {"category"}


def test_weight_dropout_trains_some_captions_as_they_are_tested() -> None:
    method = dcar(weight_dropout=1.0, ca=False, lambda1=1.0).train()
    plain = dcar(tw=False, ca=False, lambda1=1.0).train()
    torch.testing.assert_close(method.losses(batch())["contrastive_loss"], plain.losses(batch())["contrastive_loss"])
    assert not torch.allclose(
        dcar(ca=False, lambda1=1.0).losses(batch())["contrastive_loss"], plain.losses(batch())["contrastive_loss"]
    )


# --- inference ----------------------------------------------------------------------------------------------


def test_a_pair_score_depends_on_its_pair_alone() -> None:
    method = dcar()
    images, plain = unit(4, 32, 1), torch.linspace(-1, 1, 4)
    with torch.no_grad():
        together = method.pair_scores(images, plain, TEXTS)
        alone = torch.cat([method.pair_scores(images[i : i + 1], plain[i : i + 1], TEXTS[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_prior_and_head_need_no_image() -> None:
    method = dcar().train()
    method.losses(batch())
    method.eval()
    assert method.mean_image.mean.norm() > 0.1
    embedded = {}
    for mode in ("plain", "prior", "caa"):
        with torch.no_grad():
            embedded[mode] = method.encode_text(TEXTS, mode)
    assert not torch.allclose(embedded["plain"], embedded["prior"], atol=1e-4)
    torch.testing.assert_close(embedded["plain"], embedded["caa"])  # the residual head starts as the identity
    with pytest.raises(MethodError, match="no text mode 'caa' with these options"):
        dcar(ca=False).encode_text(TEXTS, "caa")
    with pytest.raises(MethodError, match=r"no text mode 'priro' with these options. Did you mean 'prior'"):
        method.encode_text(TEXTS, "priro")
    with pytest.raises(MethodError, match="trained with tw off"):
        Inference(rerank=True).check(dcar(tw=False))


def test_the_mean_training_image_is_that_of_the_last_epoch_and_is_saved() -> None:
    method = dcar(dp=False).train()
    for epoch, seeds in enumerate([(5, 6), (0, 1)]):
        method.enter("training", epoch)
        for seed in seeds:
            method.losses(batch(seed=seed))
    with torch.no_grad():
        first, last = (
            torch.cat([method.encode_image(batch(seed=seed).images) for seed in seeds]).mean(0)
            for seeds in ((5, 6), (0, 1))
        )
    assert not torch.allclose(first, last, atol=1e-3)
    torch.testing.assert_close(method.mean_image.mean, last)
    torch.testing.assert_close(method.mean_image.feature(), normalize(first, dim=-1))  # in training: the epoch before
    torch.testing.assert_close(method.eval().mean_image.feature(), normalize(last, dim=-1))
    other = dcar(dp=False)
    other.load_learned_state(method.learned_state())
    other.train().enter("training", 1)  # a resumed epoch goes on
    other.losses(batch(seed=2))
    assert other.mean_image.seen == 12
    other.enter("training", 2)
    assert other.mean_image.seen == 0
    torch.testing.assert_close(other.mean_image.feature(), normalize(other.mean_image.before, dim=-1))


def test_the_marginal_blank_is_the_mean_training_image() -> None:
    method = dcar(blank="marginal", ca=False, lambda1=1.0).train()
    assert "prior" not in method.text_modes
    with torch.no_grad():
        loss = method.losses(batch())["contrastive_loss"]
        images = method.encode_image(batch().images)
        mean = normalize(images.mean(0), dim=-1)
        torch.testing.assert_close(method.blank_feature(), mean)
        tokens = method.tokenize(TEXTS)
        rho = method.token_weights(TEXTS, tokens, images, mean)
        texts = normalize(method.read(tokens, TokenWeights(rho)), dim=-1)
        scores = method.scale * images @ texts.T
    expected = -(scores.log_softmax(1).diag().mean() + scores.log_softmax(0).diag().mean())
    torch.testing.assert_close(loss, expected)


@torch.no_grad()
def test_frozen_weights_compare_frozen_images_with_a_frozen_blank() -> None:
    """In prior, pairwise and oracle: scores do not change with the image prompts, except through the embedding."""
    method = dcar(weights_image="frozen", ca=False).train()
    method.losses(batch())
    method.eval()
    frozen = normalize(method.backbone.encode_image(batch().images).pooled, dim=-1)
    torch.testing.assert_close(method.mean_image.mean, frozen.mean(0))
    torch.testing.assert_close(
        method.blank_feature(),
        normalize(
            method.backbone.encode_image(torch.full((1, 3, tiny.SIZE, tiny.SIZE), 255, dtype=torch.uint8)).pooled[0],
            dim=-1,
        ),
    )
    pairs = method.pair_features(batch().images)
    assert torch.equal(pairs[:, :32], method.encode_image(batch().images))
    assert not torch.allclose(pairs[:, :32], frozen, atol=1e-3)
    rho = method.token_weights(TEXTS, method.tokenize(TEXTS), frozen, method.blank_feature())
    by_hand = normalize(method.read(method.tokenize(TEXTS), TokenWeights(rho)), dim=-1)
    torch.testing.assert_close(method.text_given_image(TEXTS, pairs), by_hand)
    scores = method.pair_scores(pairs, torch.zeros(4), TEXTS)
    torch.testing.assert_close(scores, 0.5 * (pairs[:, :32] * by_hand).sum(-1))


@pytest.mark.parametrize(("family", "place"), [("clip", "input"), ("siglip", "input"), ("dual", "pooling")])
def test_the_place_of_weights_follows_the_family(family: str, place: Any) -> None:
    method = dcar(family)
    assert method.place == place
    with torch.no_grad():
        images, blank = unit(4, method.backbone.embed_dim, 1), method.blank_feature()
        rho = method.token_weights(TEXTS, method.tokenize(TEXTS), images, blank)
        expected = normalize(method.read(method.tokenize(TEXTS), TokenWeights(rho, place)), dim=-1)
        torch.testing.assert_close(method.weighted(TEXTS, images), expected)
        elsewhere = dcar(family, weights_place="attention").weighted(TEXTS, images)
        assert not torch.allclose(elsewhere, expected, atol=1e-4)


def test_pooling_is_refused_where_the_tower_reads_one_position() -> None:
    with pytest.raises(MethodError, match=r"averages its words.*--options.weights_place input"):
        dcar(weights_place="pooling")


def test_the_paper_counts_its_parameters() -> None:
    """k = 4 and h = 512 on ViT-B/32 widths: 2,048 + 393,984 + 525,312."""
    config = DcarConfig()
    widths = {"text": 512, "image": 768, "embed": 512}
    head = CategoryHead(widths["embed"], config.category_width, config.category_head)
    coupling = torch.nn.Linear(widths["text"], widths["image"])
    count = config.context_tokens * widths["text"] + sum(
        math.prod(p.shape) for module in (head, coupling) for p in module.parameters()
    )
    assert count == 921_344
    assert replace(config, category_width=128).category_width == 128
