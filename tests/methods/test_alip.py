"""ALIP's weights by hand, its running means, and its synthetic captions."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from crosscue.errors import MethodError
from crosscue.methods.alip import Alip, AlipConfig, without_class
from crosscue.methods.contract import Batch
from crosscue.testing import eight_pairs
from crosscue.testing.steps import total_loss
from tests.methods.formulas import both_ways, pair_cross_entropies, shared
from tests.tiny import tiny_backbones


def alip(**options: object) -> Alip:
    torch.manual_seed(0)
    return Alip(tiny_backbones["clip"](), AlipConfig(context_tokens=2, **options))


def test_pairs_at_the_mean_weigh_one_and_others_at_most_one() -> None:
    method = alip().eval()
    method.means.copy_(torch.tensor([0.6, 0.3, 0.2]))
    assert torch.equal(method.weights(method.means[:, None].expand(3, 4)), torch.ones(3, 4))
    similar = method.means[:, None] + torch.tensor([[-0.1, 0.1], [0.2, -0.3], [-0.05, 0.4]])
    wanted = torch.tensor([[-0.2, 0.0], [0.0, -0.6], [-0.1, 0.0]]).exp()  # exp(2 (S - H)) below the mean, 1 above
    torch.testing.assert_close(method.weights(similar), wanted)


def test_the_gate_of_the_code_depends_on_the_captions_only() -> None:
    method = alip(alip_gate="code").eval()
    method.means.copy_(torch.tensor([0.6, 0.3, 0.2]))
    similar = method.means[:, None] + torch.tensor([[-0.1, 0.1], [0.2, -0.3], [-0.05, -0.4]])
    wanted = torch.tensor([[-0.2, 0.0], [0.4, 0.0], [-0.1, 0.0]]).exp()
    torch.testing.assert_close(method.weights(similar), wanted)
    assert method.weights(similar)[1, 0] > 1
    assert method.weights(similar)[0].max() <= 1


def test_running_means_start_where_configured_and_move_in_training_only() -> None:
    first, second = torch.full((3, 4), 0.5), torch.full((3, 4), 0.1)
    method = alip().train()
    method.weights(first)
    torch.testing.assert_close(method.means, torch.full((3,), 0.5))
    method.weights(second)
    torch.testing.assert_close(method.means, torch.full((3,), 0.99 * 0.5 + 0.01 * 0.1))
    before = method.means.clone()
    method.eval().weights(first)
    assert torch.equal(method.means, before)
    published = alip(ema_init="one").train()
    published.weights(first)
    torch.testing.assert_close(published.means, torch.full((3,), 0.99 + 0.01 * 0.5))
    assert float(published.weights(first)[1].max()) == pytest.approx(0.37, abs=0.01)  # e^(2 (0.5 - 0.99)): far below 1


def test_running_means_are_saved_with_the_run() -> None:
    method = alip().train()
    method.losses(eight_pairs(method.backbone))
    again = alip()
    again.load_learned_state({name: tensor.clone() for name, tensor in method.learned_state().items()})
    assert torch.equal(again.means, method.means)
    assert float(again.seen) == 1


def test_no_gradient_through_weights() -> None:
    """The gradient is that of the losses with the weights as constants."""
    method = alip().eval()
    batch = eight_pairs(method.backbone)
    learned = list(method.prompts.parameters())

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(method.losses(batch)["text_loss"], learned))

    method.means.fill_(0.5)
    weights = []
    compute = method.weights
    method.weights = lambda similar: weights.append(compute(similar)) or weights[-1]
    computed = gradients()
    constant = weights[0].clone()
    method.weights = lambda similar: constant
    for found, wanted in zip(computed, gradients(), strict=True):
        torch.testing.assert_close(found, wanted)
    assert constant.min() < 0.9, "weights that are all 1 would prove nothing"


def test_weights_scale_the_loss() -> None:
    method = alip().eval()
    batch = eight_pairs(method.backbone)
    method.means.fill_(-1)  # every pair is above the mean
    with torch.no_grad():
        whole = method.losses(batch)
        method.means.fill_(1)  # every pair is below
        less = method.losses(batch)
    assert float(whole["sample_weight"]) == float(whole["text_weight"]) == 1
    assert float(less["text_loss"]) < float(whole["text_loss"])


def test_synthetic_captions() -> None:
    batch = Batch(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        ["An abyssinian with grey eyes, an Abyssinian indeed", "two things"],
        ["1", "2"],
        ["Abyssinian", "desert-rose"],
    )
    assert alip(meta_category="animal").synthetic_captions(batch) == [
        "An animal with grey eyes, an animal indeed",
        "two things",
    ]
    assert alip(synthetic="class").synthetic_captions(batch) == ["a photo of an Abyssinian", "a photo of a desert-rose"]
    given = dataclasses.replace(batch, synthetic=["a grey cat", "a pair of things"], categories=())
    assert alip(synthetic="given").synthetic_captions(given) == ["a grey cat", "a pair of things"]
    assert without_class("a Desert Rose beside a rose", "desert-rose", "flower") == "a flower beside a rose"


def test_an_image_without_the_caption_of_a_model_is_named() -> None:
    method = alip(synthetic="given")
    batch = dataclasses.replace(eight_pairs(method.backbone), synthetic=["a thing", None, *["things"] * 6])
    with pytest.raises(MethodError, match=r"'1' has nothing\. Add a column 'synthetic'"):
        method.losses(batch)
    with pytest.raises(MethodError, match="'0' has nothing"):
        method.losses(dataclasses.replace(batch, synthetic=()))


def test_an_image_without_category_is_named() -> None:
    method = alip()
    batch = dataclasses.replace(eight_pairs(method.backbone), categories=["red", None] + ["blue"] * 6)
    with pytest.raises(MethodError, match=r"'1' has none\. Add a column 'category'"):
        method.losses(batch)
    with pytest.raises(MethodError, match="'0' has none"):
        method.losses(dataclasses.replace(batch, categories=()))


GAMMA, MOMENTUM = 1.5, 0.8
CAPTIONS = ["a red thing", "two dogs", "a red thing", "the blue cat is on the dog", "pink things", "a black cat"]
SYNTHETIC = ["a photo of a thing", "two grey cats", "the dog in white", "a blue cat", "a blue cat", "yellow"]


@pytest.mark.parametrize("gate", ["paper", "code"])
def test_the_whole_loss_by_the_formula(gate: str) -> None:
    """L = mean w_s w_t CE(i, t) + mean w_s w_c CE(i, c), in the second step, when the running means differ from the batch's."""
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(3)
    options = {"gamma": GAMMA, "momentum": MOMENTUM, "alip_gate": gate, "synthetic": "given", "carrier": "heads_only"}
    method = Alip(backbone, AlipConfig(**options)).train()
    for head in (method.image_head, method.text_head):
        torch.nn.init.normal_(head.weight)  # cosines of both signs
    pixels = eight_pairs(backbone).images
    batches = [
        Batch(pixels[:6], CAPTIONS, list("012345"), synthetic=SYNTHETIC),
        Batch(pixels[2:], CAPTIONS[::-1], list("234567"), synthetic=SYNTHETIC),
    ]
    means: torch.Tensor | None = None
    for batch in batches:
        i, t, c = method.encode_image(batch.images), method.encode_text(batch.captions), method.encode_text(SYNTHETIC)
        own = [
            [float((a[row] @ b[row]).detach()) for row in range(6)] for a, b in ((t, c), (t, i), (c, i))
        ]  # S_tc, S_ti, S_ci
        here = torch.tensor(own).mean(1)
        means = here if means is None else MOMENTUM * means + (1 - MOMENTUM) * here
        raw = [[math.exp(GAMMA * (s - h)) for s in row] for row, h in zip(own, means.tolist(), strict=True)]
        weights = []
        for kind, row in enumerate(raw):
            below = [raw[0 if gate == "code" else kind][k] < 1 for k in range(6)]
            weights.append(
                torch.tensor([value if is_below else 1.0 for value, is_below in zip(row, below, strict=True)])
            )
        scale = backbone.logit_scale
        by_caption = both_ways(scale * i @ t.T, shared(list(batch.captions), list(batch.image_ids)))
        by_other = both_ways(scale * i @ c.T, shared(SYNTHETIC, list(batch.image_ids)))
        text_loss = (weights[0] * weights[1] * by_caption).mean()
        other_loss = (weights[0] * weights[2] * by_other).mean()
        found = method.losses(batch)
        torch.testing.assert_close(found["text_loss"], text_loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["synthetic_loss"], other_loss, rtol=1e-4, atol=1e-5)
        for key, weight in zip(("sample_weight", "text_weight", "synthetic_weight"), weights, strict=True):
            torch.testing.assert_close(found[key], weight.mean(), rtol=1e-4, atol=1e-5)
    cosines = i @ t.T
    assert cosines.min() < -0.05
    assert cosines.max() > 0.05
    assert min(weight.std() for weight in weights) > 0.02, "equal weights would prove nothing"
    assert (weights[1] - weights[2]).abs().max() > 0.02, "weights that are alike could be exchanged unseen"
    assert (by_caption - by_other).abs().max() > 0.1
    heads = [method.image_head.weight, method.text_head.weight]
    right = torch.autograd.grad(text_loss + other_loss, heads)
    method.means.copy_((method.means - (1 - MOMENTUM) * here) / MOMENTUM)  # as before this batch
    for gradient, wanted in zip(torch.autograd.grad(total_loss(method, batch), heads), right, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("directions", ["i2t", "t2i"])
def test_both_terms_have_the_chosen_direction(directions: str) -> None:
    backbone = tiny_backbones["clip"]()
    method = Alip(backbone, AlipConfig(directions=directions, synthetic="given", carrier="heads_only")).eval()
    method.means.fill_(-1)  # every weight is 1
    batch = Batch(eight_pairs(backbone).images[:6], CAPTIONS, list("012345"), synthetic=SYNTHETIC)
    found, images = method.losses(batch), method.encode_image(batch.images)
    for name, texts in (("text_loss", CAPTIONS), ("synthetic_loss", SYNTHETIC)):
        logits = backbone.logit_scale * images @ method.encode_text(texts).T
        same = shared(texts, list(batch.image_ids))
        halves = {"i2t": pair_cross_entropies(logits, same), "t2i": pair_cross_entropies(logits.T, same)}
        torch.testing.assert_close(found[name], halves[directions].mean(), rtol=1e-4, atol=1e-5)
        assert abs(float((halves["i2t"] - halves["t2i"]).mean())) > 1e-3
