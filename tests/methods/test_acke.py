"""ACKE's own parts: the pool, the weights of descriptions, the released arithmetic, and what may not be seen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import DataError, MethodError, OptionError
from crosscue.knowledge.views.record import ViewKnowledge, Views
from crosscue.losses.contrastive import contrastive, pair_losses
from crosscue.losses.evidential import retrieval_evidence
from crosscue.losses.view_weights import gallery_trust, shuffled, view_opinions
from crosscue.methods.acke.model import Acke
from crosscue.methods.acke.pool import PoolShape, PromptPool, Selection, chosen_prompts
from crosscue.methods.acke.released import DEFECTS, ReleasedAcke, ReleasedPool, weighted
from crosscue.methods.acke.towers import query_map
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from crosscue.retrieval.enrichment import enriched
from crosscue.retrieval.options import Inference
from crosscue.testing import eight_pairs
from crosscue.training.optimisers import select_trainable
from tests import tiny
from tests.tiny import square_clip, tiny_backbones

TEXTS = ["a red thing", "two dogs on a black cat", "pink", "the blue dog is on the grey cat"]
SMALL = {"pool_size": 6, "top_k": 2, "projector_width": 16}


def acke(**options: Any) -> Acke:
    torch.manual_seed(0)
    method = build("acke", tiny_backbones["clip"](), SMALL | options)
    assert isinstance(method, Acke)
    return method


def pixels(seed: int = 0, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, tiny.SIZE, tiny.SIZE), dtype=torch.uint8, generator=generator)


def batch(seed: int = 0) -> Batch:
    return Batch(pixels(seed), TEXTS, [f"{seed}-{row}" for row in range(4)])


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for key, value in losses.items() if key.endswith("_loss")]).sum()


# --- the pool -------------------------------------------------------------------------------------------


def pool(size: int = 5, chosen: int = 2, **options: Any) -> PromptPool:
    torch.manual_seed(0)
    kind = options.pop("kind", PromptPool)
    made = kind(PoolShape(size, 1, chosen), 8, 5, options.pop("keys", "learned"), **options)
    if size == 5 and made.keys is not None:
        made.keys.data.copy_(torch.eye(5))
    return made


def test_known_queries_choose_the_expected_prompts() -> None:
    queries = torch.tensor([[0.1, 0.9, 0, 0, 0.8], [0, 0, 0, 0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]])
    chosen = pool().select(queries)
    assert chosen.index.tolist() == [[1, 4], [0, 1], [0, 1]], "ties go to the first, and the order is canonical"
    torch.testing.assert_close(chosen.gate.mean(1), torch.ones(3))
    assert chosen.gate[0, 0] > chosen.gate[0, 1]
    assert pool(chosen=5).select(queries).index.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_the_released_choice_is_hard_and_in_order_of_affinity() -> None:
    chosen = pool(keys="random", kind=ReleasedPool).select(torch.tensor([[0.1, 0.8, 0, 0, 0.9]]))
    assert chosen.index.tolist() == [[4, 1]]
    assert torch.equal(chosen.gate, torch.ones(1, 2))


def test_static_prompts_are_the_same_for_all() -> None:
    made = pool(keys="static")
    assert made.prompts.shape == (1, 2, 1, 8)
    chosen = made.select(unit(3, 5))
    assert chosen.index.tolist() == [[0, 1]], "one row stands for all"
    assert chosen.affinity is None


def test_only_chosen_prompts_and_keys_get_gradients() -> None:
    for keys in ("learned", "random"):
        made = pool(keys=keys)
        chosen = made.select(torch.tensor([[0.1, 0.9, 0, 0, 0.8]]))
        (chosen_prompts(made.prompts, chosen)[0] * torch.arange(8)).square().sum().backward()
        touched = made.prompts.grad.flatten(2).abs().sum((0, 2)) > 0
        assert touched.tolist() == [False, True, False, False, True]
        if keys == "learned":
            assert (made.keys.grad.abs().sum(1) > 0).tolist() == touched.tolist(), "through the gate"
        else:
            assert not made.keys.requires_grad


def test_pulling_moves_chosen_keys_towards_their_queries() -> None:
    made, queries = pool(), unit(6, 5)
    optimiser = torch.optim.SGD([made.keys], lr=0.1)
    before = made.select(queries)
    loss = made.pull_loss([before])
    loss.backward()
    optimiser.step()
    cosines = normalize(queries, dim=-1) @ normalize(made.keys, dim=-1).T
    assert 1 - cosines.gather(1, before.index).mean() < loss


def test_balance_is_lowest_at_even_use() -> None:
    made = pool(chosen=1)
    even = made.balance_loss([made.select(torch.eye(5))])
    torch.testing.assert_close(even, torch.tensor(1.0))
    always = made.select(torch.eye(5)[:1].repeat(5, 1))
    assert made.balance_loss([always]) > 4


def test_agreement_is_zero_for_one_choice_and_teaches_only_the_text() -> None:
    made = pool()
    image, text = made.select(unit(3, 5)), unit(3, 5, seed=1).requires_grad_()
    assert float(made.agreement_loss(image, image).detach()) == pytest.approx(0, abs=1e-6)
    loss = made.agreement_loss(Selection(image.index, image.gate, image.affinity.detach()), made.select(text))
    loss.backward()
    assert loss > 0
    assert text.grad.abs().sum() > 0


def test_overlap_counts_other_prompts_only() -> None:
    made = pool(size=2, chosen=1)
    made.prompts.data[:] = torch.ones(8)
    torch.testing.assert_close(made.overlap_loss(), torch.tensor(1.0))
    made.prompts.data[0, 0, 0, :4], made.prompts.data[0, 1, 0, 4:] = 0, 0
    assert float(made.overlap_loss().detach()) == pytest.approx(0)


def test_texts_are_taken_to_the_keys_as_they_are_at_first() -> None:
    texts = torch.randn(3, 8)
    torch.testing.assert_close(query_map(8, 8)(texts), texts)
    assert query_map(8, 6)(texts).shape == (3, 6)


def test_the_controls_learn_what_they_should() -> None:
    def names(**options: Any) -> set[str]:
        return {".".join(name.split(".")[:2]) for name, _ in select_trainable(acke(**options))}

    learned = {"pool.prompts", "pool.keys", "text_key.weight", "projector.0", "projector.2"}
    assert names() == learned
    assert names(keys="random") == learned - {"pool.keys"}
    assert "pool.keys" in acke(keys="random").learned_state(), "fixed, and still part of the run"
    assert names(keys="static") == {"pool.prompts", "projector.0", "projector.2"}
    assert names(acp="vision") == {"pool.prompts", "pool.keys"}
    assert names(weights="pau") == learned | {"view_losses.prototypes"}


def test_impossible_options_are_refused() -> None:
    for options, message in (
        ({"top_k": 7}, r"top_k is 7; a pool of 6 prompts allows 1 to 6"),
        ({"prompt_length": 0}, "prompt_length"),
        ({"gate_temperature": 0.0}, "gate_temperature"),
        ({"acp": "paired_leaky"}, r"sees? the answer.*allow_leak true"),
        ({"acp": "none"}, "tune projection or full"),
        ({"views_per_step": 4}, "3 descriptions"),
        ({"depth": 3, "image_start_layer": 1}, "layers 0 to 2"),
    ):
        with pytest.raises(MethodError, match=message):
            acke(**options)
    for options, message in (
        ({}, "needs a CLIP checkpoint where both are equal"),
        ({"depth": 2}, "depth 1"),
        ({"acp": "paired_leaky"}, "allow_leak true"),
    ):
        if "acp" in options:
            options |= {"defects": (), "weights": "none"}
        with pytest.raises(MethodError, match=message):
            build("acke_released", tiny_backbones["clip"](), SMALL | options)
    with pytest.raises(OptionError, match="no option 'defects'"):
        acke(defects=())


# --- encoders -------------------------------------------------------------------------------------------


def test_the_order_of_visual_prompts_does_not_matter() -> None:
    method = acke()
    chosen = method.chosen_by_images(pixels())
    turned = Selection(chosen.index.flip(1), chosen.gate.flip(1), chosen.affinity)
    with torch.no_grad():
        torch.testing.assert_close(
            method.read_images(pixels(), chosen), method.read_images(pixels(), turned), rtol=1e-5, atol=1e-6
        )


def test_prompts_change_what_is_read() -> None:
    method = acke()
    with torch.no_grad():
        assert not torch.allclose(method.read_texts(TEXTS, None), method.text_features(TEXTS), atol=1e-3)
        assert not torch.allclose(method.read_images(pixels(), None), method.image_features(pixels()), atol=1e-3)
        swapped = method.read_beside(TEXTS, unit(4, 32, seed=5))
        assert not torch.allclose(swapped, method.text_features(TEXTS), atol=1e-4)


MODES = [{"acp": "text_query"}, {"acp": "vision"}, {"acp": "pairwise"}, {"keys": "static"}, {"weights": "pau"}]


@pytest.mark.parametrize("options", MODES, ids=lambda options: "-".join(map(str, options.values())))
def test_captions_never_see_images_nor_each_other(options: dict[str, Any]) -> None:
    """The leak detector: it must be silent for every mode that counts, and ring for the leaking one (below)."""
    method = acke(**options)
    with torch.no_grad():
        alone = torch.cat([method.encode_text([text]) for text in TEXTS])
        method.losses(batch(1))  # whatever was seen in training
        method.encode_image(pixels(2))
        torch.testing.assert_close(method.encode_text(TEXTS), alone, rtol=1e-5, atol=1e-6)
        assert torch.equal(method.encode_text(TEXTS), method.encode_text(TEXTS))


def test_the_leaking_mode_is_found_out() -> None:
    method = acke(acp="paired_leaky", allow_leak=True)
    with torch.no_grad():
        own, other = (method.text_given_image(TEXTS, method.pair_features(pixels(seed))) for seed in (0, 1))
        assert not torch.allclose(own, other, atol=1e-4), "captions know which image they belong to"
        plain = method.encode_text(TEXTS)
        zero_shot = build("zero_shot", method.backbone).encode_text(TEXTS)
    torch.testing.assert_close(plain, zero_shot)
    with pytest.raises(MethodError, match="acp text_query"):
        acke().text_given_image(TEXTS, torch.zeros(4, 64))


def test_a_pair_score_depends_on_its_pair_alone() -> None:
    method = acke(acp="pairwise")
    with torch.no_grad():
        images, plain = method.pair_features(pixels()), torch.linspace(-1, 1, 4)
        together = method.pair_scores(images, plain, TEXTS)
        alone = [method.pair_scores(images[i : i + 1], plain[i : i + 1], TEXTS[i : i + 1]) for i in range(4)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)
        assert torch.equal(acke(acp="pairwise", eta=0.0).pair_scores(images, plain, TEXTS), plain)
    with pytest.raises(MethodError, match="needs acp pairwise"):
        acke().require_pairs()


def test_pairwise_training_meets_every_image_and_caption_equally_often() -> None:
    method = acke(acp="pairwise", pairwise_negatives=3, weights="none")
    images = method.encode_image(pixels())
    with torch.no_grad():
        loss = method.pairwise_loss(images, method.completed(batch()), None)
        queries = method.frozen.of_images(pixels())
        logits = torch.stack(
            [
                method.backbone.logit_scale
                * normalize(method.read_beside(TEXTS, queries[i].expand(4, -1)), dim=-1)
                @ images[i]
                for i in range(4)
            ]
        )  # row: the image whose choice the captions are read with
        expected = torch.nn.functional.cross_entropy(logits, torch.arange(4))
        expected = expected + torch.nn.functional.cross_entropy(logits.T, torch.arange(4))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


def known_batch(method: Acke) -> Batch:
    """A batch as training gives it: what the untouched tower makes of its images comes along."""
    with torch.no_grad():
        return replace(batch(), untouched=method.backbone.encode_image(pixels()))


def test_frozen_queries_are_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    method = acke()
    method.views.texts = [text for views in method.views.of(batch().image_ids, TEXTS) for text in views]
    method.remember(TEXTS)
    torch.manual_seed(1)
    first = method.losses(known_batch(method))
    own = replace(known_batch(method))
    unprompted = []
    for name in ("encode_image", "encode_text"):
        real = getattr(method.backbone, name)

        def counted(inputs: Any, prompts: Any = None, *more: Any, real: Callable[..., Any] = real) -> Any:
            unprompted.extend([prompts] * (prompts is None))
            return real(inputs, prompts, *more)

        monkeypatch.setattr(method.backbone, name, counted)
    torch.manual_seed(1)
    again = method.losses(own)
    assert not unprompted
    for key, value in first.items():
        if key != "evidential_loss":  # its KL term is annealed by the step
            assert torch.equal(value, again[key]), key


@pytest.mark.parametrize("acp", ["none", "vision"])
def test_texts_without_prompts_are_encoded_once(acp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = acke(acp=acp, tune="projection")
    torch.nn.init.normal_(method.text_change.weight, std=0.1)
    torch.manual_seed(1)
    computed = method.losses(known_batch(method))
    method.views.texts = [text for views in method.views.of(batch().image_ids, TEXTS) for text in views]
    method.remember(TEXTS)
    monkeypatch.setattr(method.backbone, "encode_text", None)  # a text pass would fail
    torch.manual_seed(1)
    remembered = method.losses(known_batch(method))
    assert {"view_loss", "contrastive_loss"} <= set(remembered)
    for key, value in computed.items():
        if key != "evidential_loss":  # its KL term is annealed by the step
            torch.testing.assert_close(remembered[key], value, rtol=1e-4, atol=1e-5)
    remembered["contrastive_loss"].backward()
    assert method.text_change.weight.grad.abs().sum() > 0
    assert (method.image_use.frozen_layers == "pooled") == (acp == "none")


def test_what_comes_with_a_batch_is_what_its_images_give() -> None:
    method = acke()
    torch.manual_seed(1)
    computed = method.losses(batch())
    torch.manual_seed(1)
    given = method.losses(known_batch(method))
    torch.testing.assert_close(given, {**computed, "evidential_loss": given["evidential_loss"]})  # annealed by the step
    other = replace(batch(), untouched=method.backbone.encode_image(pixels(9)))
    assert not torch.allclose(
        method.chosen_by_images(other.images, other.untouched).affinity, method.chosen_by_images(pixels()).affinity
    )
    assert [acke(**options).image_use.untouched for options in ({}, {"keys": "static"}, {"acp": "vision"})] == [
        True,
        False,
        True,
    ]


def test_texts_that_were_not_announced_are_encoded() -> None:
    method = acke()
    torch.manual_seed(1)
    before = method.losses(batch())
    method.remember(["something else"])
    torch.manual_seed(1)
    torch.testing.assert_close(method.losses(batch())["contrastive_loss"], before["contrastive_loss"])
    method.remember([])
    assert not method.frozen.texts.memory.known


# --- weights of descriptions ------------------------------------------------------------------------------


def mixed(size: int = 64, informative: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Images, captions that fit, and one description each: of the first `informative` images it fits, of the others it does not."""
    images = unit(size, 64, seed=1)
    captions = normalize(images + 0.7 * unit(size, 64, seed=2), dim=-1)
    fitting = normalize(images + 0.7 * unit(size, 64, seed=3), dim=-1)
    noise = unit(size, 64, seed=4)
    views = torch.where(torch.arange(size)[:, None] < informative, fitting, noise)
    return images, captions, views[None]


def test_trust_tells_descriptions_from_noise() -> None:
    images, captions, views = mixed()
    held = view_opinions(images, captions, views.requires_grad_(), 20.0)
    weights = held.weights
    assert weights.shape == (1, 64)
    assert not weights.requires_grad
    assert float(weights.mean()) == pytest.approx(1)
    assert weights.std() > 0.1
    assert weights[0, :32].mean() > 3 * weights[0, 32:].mean()
    caption = view_opinions(images, captions, captions[None], 20.0)
    assert caption.conflict.max() < 1e-6, "a description that says what the caption says does not conflict with it"
    assert (held.fused.uncertainty <= held.uncertainty[0] + 1e-6).all()


def test_a_certain_description_of_another_image_is_not_trusted() -> None:
    images, captions, _ = mixed()
    own = view_opinions(images, captions, images[None], 20.0)
    wrong = view_opinions(images, captions, images.roll(1, 0)[None], 20.0)
    torch.testing.assert_close(own.uncertainty.mean(), wrong.uncertainty.mean(), rtol=0.05, atol=0.0)
    assert wrong.conflict.mean() > own.conflict.mean() + 0.5
    assert wrong.trust.mean() < own.trust.mean() / 2


def test_weights_belong_to_samples() -> None:
    images, captions, views = mixed(8, 4)
    weights = view_opinions(images, captions, views, 20.0).weights[0]
    logits = 20 * images @ views[0].T
    costs = pair_losses(logits, logits)  # (8,)
    loss = (weights * costs).mean()
    torch.testing.assert_close((3 * weights * costs).mean(), 3 * loss)
    swapped = weights[torch.tensor([7, 1, 2, 3, 4, 5, 6, 0])]
    assert not torch.allclose((swapped * costs).mean(), loss)
    torch.manual_seed(0)
    mixed_up = shuffled(weights[None])[0]
    assert not torch.equal(mixed_up, weights)
    assert torch.equal(mixed_up.sort().values, weights.sort().values)


def test_two_captions_of_one_image_are_no_negatives() -> None:
    images, captions, views = mixed(8, 8)
    images[1], captions[1] = images[0], captions[0]
    same = torch.zeros(8, 8, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    blind, excluded = (view_opinions(images, captions, views, 20.0, same=mask) for mask in (None, same))
    assert excluded.uncertainty[0, 2] == blind.uncertainty[0, 2]
    assert excluded.fused.belief[0, 1] == 0


@pytest.mark.parametrize("weights", ["evidence", "uniform", "shuffled", "pau", "none"])
def test_every_way_of_weighing_trains(weights: str) -> None:
    method = acke(weights=weights, views_per_step=2)
    losses = method.losses(batch())
    total(losses).backward()
    assert ("view_loss" in losses) == (weights != "none")
    assert torch.isfinite(torch.stack([value.detach().float() for value in losses.values()])).all()
    if weights == "uniform":
        assert float(losses["view_weight_spread"]) == 0


def test_switched_off_it_is_the_contrastive_loss_of_prompts() -> None:
    off = {f"lambda_{name}": 0.0 for name in ("hinge", "pull", "agree", "balance", "overlap")}
    method = acke(weights="none", **off)
    losses = method.losses(batch())
    plain = contrastive(method.encode_image(pixels()), method.encode_text(TEXTS), method.backbone.logit_scale)
    torch.testing.assert_close(total(losses), plain / 2, rtol=1e-5, atol=1e-5)


def test_evidence_is_finite_for_long_features_and_half_precision() -> None:
    """Features are normalised before they are compared, so their length does not matter."""
    images, captions, views = mixed(8, 4)
    normal = view_opinions(images, captions, views, 100.0)
    half = view_opinions(images.half(), captions.half(), views.half(), 100.0)
    assert half.trust.dtype == torch.float32
    torch.testing.assert_close(half.trust, normal.trust, rtol=0.1, atol=0.05)
    evidence = retrieval_evidence(50 * torch.eye(4, dtype=torch.bfloat16), 100.0)
    assert torch.isfinite(evidence).all()


# --- the released arithmetic -----------------------------------------------------------------------------


def released(**options: Any) -> ReleasedAcke:
    backbone = square_clip()
    torch.manual_seed(0)
    method = build("acke_released", backbone, SMALL | {"acp": "vision"} | options)
    assert isinstance(method, ReleasedAcke)
    return method


def test_weighting_as_released_and_as_meant() -> None:
    costs, weights = torch.tensor([0.1, 0.5]), torch.tensor([0.5, 1.0])
    assert float(weighted(costs, weights, ())) == pytest.approx(0.55)
    assert float(weighted(costs, weights, ("broadcast",))) == pytest.approx(0.90)


def test_every_defect_changes_the_loss_or_its_gradient(tmp_path: Path) -> None:
    file = str(described(tmp_path, batch().image_ids))

    def measured(defects: tuple[str, ...]) -> tuple[dict[str, float], Tensor]:
        method = released(defects=defects, acp="paired_leaky", allow_leak=True, views=file)
        select_trainable(method)
        losses = method.losses(batch())
        total(losses).backward()
        return {key: float(value.detach()) for key, value in losses.items()}, method.pool.prompts.grad

    losses, gradient = measured(DEFECTS)
    assert set(losses) == {
        f"{key}_loss" for key in ("contrastive", "hinge", "view_hinge", "view", "prototype", "align")
    }
    assert torch.isfinite(gradient).all()
    changed = {
        "broadcast": {"view_hinge_loss"},
        "unnormalised": {"view_hinge_loss", "align_loss"},
        "attached": set(),
        "caption_logits": {"align_loss"},
        "scaled_overlap": {"prototype_loss"},
    }
    for defect in DEFECTS:
        without, other = measured(tuple(kept for kept in DEFECTS if kept != defect))
        differ = {key for key in losses if not math.isclose(losses[key], without[key], rel_tol=1e-6)}
        if defect in changed:
            assert differ == changed[defect], defect
        else:
            assert differ, defect
        assert not torch.allclose(gradient, other, rtol=1e-6, atol=0), defect


def test_released_keys_never_learn() -> None:
    assert "pool.keys" not in dict(select_trainable(released()))
    learns = released(defects=tuple(defect for defect in DEFECTS if defect != "frozen_keys"))
    assert "pool.keys" in dict(select_trainable(learns))


def test_the_second_pass_is_the_stock_tower_on_zeros_prompts_and_the_pooled_caption() -> None:
    method = released(acp="paired_leaky", allow_leak=True)
    model, queries = method.backbone.text.text_model, method.frozen.of_images(pixels())
    with torch.no_grad():
        ours = method.read_beside(TEXTS, queries)
        chosen = method.pool.select(queries)
        prompts = chosen_prompts(method.projector(method.pool.prompts), chosen)[0]  # (4, 2, 96)
        pooled = method.backbone.encode_text(method.backbone.tokenize(TEXTS)).pooled
        empty = torch.zeros(4, 24 - 3, 96)
        hidden = torch.cat([empty, prompts, pooled[:, None]], 1) + model.embeddings.position_embedding.weight
        for layer in model.encoder.layers:
            hidden = layer(hidden, None, is_causal=True)
        expected = method.backbone.text.projection(model.final_layer_norm(hidden[:, -1]))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_the_released_ablations() -> None:
    assert set(released(weights="none").losses(batch())) == {"contrastive_loss"}
    assert "view_loss" in released(acp="none", tune="full").losses(batch()), "UAIP without prompts"


# --- descriptions ------------------------------------------------------------------------------------------------


def described(folder: Path, names: Sequence[str], source: str = "a model") -> Path:
    views = {name: Views(f"an image {name}", "the grass", f"a dog {name}", source) for name in names}
    ViewKnowledge(views).save(folder / "views.jsonl")
    return folder / "views.jsonl"


def pairs(count: int = 4) -> Pairs:
    return Pairs([Pair(ImageFile(Path(f"{i}.jpg")), (f"a dog {i}", f"a cat {i}"), str(i)) for i in range(count)])


def test_missing_descriptions_are_counted(tmp_path: Path) -> None:
    file = described(tmp_path, ["0", "1", "9"])
    with pytest.raises(DataError, match=r"2 of 4 images have no views.*describe views.*missing_views skip"):
        acke(views=str(file)).study(pairs(), [])
    method = acke(views=str(file), missing_views="skip")
    recorded = method.study(pairs(), [])
    assert recorded["images_without_views"] == 2
    assert len(recorded["views_fingerprint"]) == 64
    losses = method.losses(replace(batch(), image_ids=["0", "1", "2", "3"]))
    assert losses["view_loss"] > 0
    assert "view_loss" not in method.losses(replace(batch(), image_ids=["0", "2", "3", "4"])), (
        "one cannot be contrasted"
    )
    with pytest.raises(DataError, match="describes none of the 4"):
        acke(views=str(described(tmp_path, ["a", "b"])), missing_views="skip").study(pairs(), [])


def test_a_wrong_file_of_descriptions_is_refused(tmp_path: Path) -> None:
    row = {"image_id": "0", "views": {"global": "a", "background": "b", "entry": "c"}, "source": "m"}
    (tmp_path / "views.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"exactly the keys global, background, entity"):
        acke(views=str(tmp_path / "views.jsonl")).study(pairs(), [])


def test_captions_stand_in_for_descriptions() -> None:
    method = acke()
    assert method.study(pairs(), [])["views"] == "captions"
    assert method.views.known["0"].source == "captions"
    assert method.views.of(["0"], ["a dog 0"])[0][0] == "a dog 0 a cat 0"
    assert acke(weights="none").study(pairs(), []) == {}


FIVE = ("a dog", "a black dog on snow", "snow", "one thing", "A  black dog on snow")
"""Five captions of an image; the last repeats the second."""


def test_the_own_caption_is_never_among_its_views() -> None:
    """Views of other content: whichever caption a step draws, its descriptions are the image's others."""
    method = acke(views="other_captions", views_per_step=3)
    several = Pairs(
        [Pair(ImageFile(Path(f"{i}.jpg")), tuple(f"{text} {i}" for text in FIVE), str(i)) for i in range(4)]
    )
    assert method.study(several, several.captions) == {"views": "other_captions", "images_without_views": 0}
    seen = {}
    for _ in range(30):
        for own in FIVE:
            rows, described = method.draw_views(Batch(pixels(), [f"{own} {i}" for i in range(4)], list("0123")))
            assert rows == [0, 1, 2, 3]
            for texts in described:
                for image, text in enumerate(texts):
                    seen.setdefault((own, image), set()).add(text)
    for (own, image), texts in seen.items():
        plain = {text.lower().replace(" ", "") for text in texts}
        assert f"{own} {image}".lower().replace(" ", "") not in plain
        every = {f"{text} {image}".lower().replace(" ", "") for text in FIVE}
        assert plain == every - {f"{own} {image}".lower().replace(" ", "")}, "every other caption is drawn at times"
    assert method.losses(Batch(pixels(), [f"{FIVE[0]} {i}" for i in range(4)], list("0123")))["view_loss"] > 0


def test_views_of_other_captions_need_a_second_caption() -> None:
    single = [Pair(ImageFile(Path("9.jpg")), ("a dog", "A dog"), "9")]
    with pytest.raises(DataError, match=r"1 of 5 training images .* such as '9'.*missing_views skip"):
        acke(views="other_captions").study(Pairs([*pairs(), *single]), [])
    with pytest.raises(DataError, match="1 of 1 training images"):
        acke(views="other_captions", missing_views="skip").study(Pairs(single), [])
    method = acke(views="other_captions", missing_views="skip")
    assert method.study(Pairs([*pairs(), *single]), [])["images_without_views"] == 1
    captions = ["a dog 0", "a cat 1", "a dog", "a dog 2"]
    rows, described = method.draw_views(Batch(pixels(), captions, ["0", "1", "9", "2"]))
    assert (rows, described) == ([0, 1, 3], [["a cat 0", "a dog 1", "a cat 2"]])


def test_a_trained_run_needs_no_descriptions(tmp_path: Path) -> None:
    method = acke(views=str(tmp_path / "gone.jsonl"))
    with torch.no_grad():
        assert method.encode_text(TEXTS).shape == (4, 32)


# --- the gallery --------------------------------------------------------------------------------------------------------------


def test_gallery_descriptions_are_weighed_without_a_query() -> None:
    images, _, views = mixed()
    fitting = normalize(images + 0.5 * unit(64, 64, seed=8), dim=-1)
    trust = gallery_trust(images, torch.stack([fitting, fitting, views[0]]), 20.0, block=10)
    assert trust.shape == (3, 64)
    assert trust[2, 32:].mean() < trust[0, 32:].mean()
    torch.testing.assert_close(trust, gallery_trust(images, torch.stack([fitting, fitting, views[0]]), 20.0))


def test_enriching_adds_descriptions_by_their_weight() -> None:
    method = acke()
    with torch.no_grad():
        images = method.encode_image(pixels())
        views = [TEXTS, TEXTS[::-1], TEXTS]
        assert torch.equal(method.enrich(images, views, 0.0), images)
        enriched = method.enrich(images, views, 0.5)
    assert enriched.shape == images.shape
    assert ((enriched - images).norm(dim=-1) <= 0.5 + 1e-5).all()


@torch.no_grad()
def test_descriptions_of_a_file_are_added_with_the_given_strength(tmp_path: Path) -> None:
    method, names = acke(), list("0123")
    inference = Inference(views=str(described(tmp_path, names)), enrichment=0.8)
    images = method.encode_image(pixels())
    views = [[f"an image {name}" for name in names], ["the grass"] * 4, [f"a dog {name}" for name in names]]
    torch.testing.assert_close(enriched(method, pairs(), images, inference), method.enrich(images, views, 0.8))
    assert not torch.allclose(method.enrich(images, views, 0.8), method.enrich(images, views, 0.3), atol=1e-3)


def test_uncertainty_is_low_for_a_clear_winner() -> None:
    method = acke(evidence_scale=100.0)
    unclear = 0.2 + 0.01 * torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    clear = unclear.clone()
    clear[:, 7] = 0.5
    low, high = method.query_uncertainty(clear), method.query_uncertainty(unclear)
    assert low.shape == (2,)
    assert (low < 0.05).all()
    assert (high > 0.5).all()


def test_a_tuned_image_tower_is_trained_and_read_from_its_first_layer() -> None:
    """Prompts from a later layer on do not freeze the layers before it: tune full changes them."""
    backbone = tiny_backbones["clip"]()
    torch.manual_seed(0)
    options = {"pool_size": 6, "top_k": 2, "tune": "full", "image_start_layer": 1, "weights": "none"}
    method, batch = build("acke", backbone, options), eight_pairs(backbone)
    select_trainable(method)
    assert method.image_use.layers(backbone) == 0
    method.losses(batch)["contrastive_loss"].backward()
    first = [one for name, one in method.tuned.named_parameters() if "vision_model" in name and ".layers.0." in name]
    assert first
    assert all(one.grad is not None and one.grad.any() for one in first if one.dim() > 1)
