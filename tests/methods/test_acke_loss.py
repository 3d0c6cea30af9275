"""The whole loss of ACKE a second time, from its encoders and its parameters, by the formulas of docs/methods.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, lgamma
from torch.nn.functional import normalize, softplus

from crosscue.backbones.protocol import Prompts
from crosscue.errors import DataError
from crosscue.knowledge.views.record import ViewKnowledge, Views
from crosscue.losses.view_weights import gallery_trust
from crosscue.methods.acke.config import AckeConfig
from crosscue.methods.acke.model import Acke
from crosscue.methods.acke.pool import PoolShape, PromptPool
from crosscue.methods.acke.views import ViewLosses
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from crosscue.training.optimisers import select_trainable
from tests.methods.formulas import both_ways, pair_cross_entropies, shared
from tests.tiny import SIZE, root, tiny_backbones

CAPTIONS = [
    "a red thing",
    "two dogs on a black cat",
    "pink",
    "a red thing",
    "the blue dog is on the grey cat",
    "yellow",
]
IDS = ["0", "1", "2", "3", "1", "5"]
"""Captions 0 and 3 are equal, and rows 1 and 4 show one image: neither are negatives of each other."""
SAME = shared(CAPTIONS, IDS)
SHARP, MARGIN, PRIOR = 30.0, 0.01, 3.0
OPTIONS: dict[str, Any] = {
    "pool_size": 6,
    "top_k": 3,
    "prompt_length": 2,
    "depth": 2,
    "text_start_layer": 1,
    "image_start_layer": 1,
    "gate_temperature": 0.3,
    "projector_width": 16,
    "tune": "projection",
    "views_per_step": 2,
    "evidence_scale": SHARP,
    "evidence_margin": MARGIN,
    "prior_weight": PRIOR,
    "margin": 0.37,
    "lambda_hinge": 0.7,
    "lambda_view": 1.3,
    "lambda_view_hinge": 0.9,
    "lambda_evidential": 0.6,
    "evidential_kl": 0.4,
    "kl_steps": 4,
    "lambda_pull": 0.5,
    "lambda_agree": 0.8,
    "lambda_balance": 0.35,
    "lambda_overlap": 0.45,
    "lambda_align": 0.25,
    "prototypes": 3,
    "prototype_scale": 4.0,
    "pairwise_negatives": 2,
}
"""No default, and no two weights alike."""


def written_views(names: str = "01235") -> str:
    """Return a file with three descriptions of each of the images."""
    views = {
        name: Views(f"the {colour} cat is on the dog", f"{colour} things in a photo", f"a {colour} dog", "a model")
        for name, colour in zip("01235", ("red", "black", "pink", "green", "yellow"), strict=True)
        if name in names
    }
    path = root() / f"loss-views-{names}.jsonl"
    ViewKnowledge(views).save(path)
    return str(path)


def acke(**options: Any) -> Acke:
    backbone = tiny_backbones["clip"]()  # before the seed: the first call makes it
    torch.manual_seed(0)
    method = build("acke", backbone, OPTIONS | {"views": written_views()} | options)
    assert isinstance(method, Acke)
    select_trainable(method)
    with torch.no_grad():
        assert method.image_change is not None
        assert method.text_change is not None
        for change in (method.image_change.weight, method.text_change.weight):
            change.normal_(std=0.3)  # cosines of both signs
        if method.pool is not None:
            method.pool.prompts.normal_(std=0.5)
        if method.text_key is not None:
            method.text_key.weight.add_(0.2 * torch.randn_like(method.text_key.weight))
    return method


def batch() -> Batch:
    pixels = torch.randint(0, 256, (6, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Batch(pixels, CAPTIONS, IDS)


def opinion(evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projected probabilities (R, K) and the uncertainty (R,) of evidence (R, K): b + u / K, u = W / S."""
    strength = PRIOR + evidence.sum(1)
    u = PRIOR / strength
    return evidence / strength[:, None] + u[:, None] / evidence.shape[1], u


def above(cosines: Tensor, same: Tensor) -> Tensor:
    """Return SHARP (cosine - mean of the row's negatives - MARGIN); the mean has no gradient."""
    rows = []
    for i, row in enumerate(cosines):
        negatives = [row[j].detach() for j in range(len(row)) if j != i and not same[i, j]]
        rows.append(SHARP * (row - torch.stack(negatives).mean() - MARGIN))
    return torch.stack(rows)


def trust(f: Tensor, g: Tensor, z: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return trust, uncertainty and conflict (V, B) of descriptions: (1 - u) (1 - DC)."""
    with torch.no_grad():
        evidence = [(above(t @ f.T, same).clamp(0, 10).exp() - 1).masked_fill(same, 0) for t in (g, *z)]
        held = [opinion(own) for own in evidence]  # caption first
        p, u = held[0]
        conflict = torch.stack([(q - p).abs().sum(1) / 2 * (1 - v) * (1 - u) for q, v in held[1:]])
        uncertain = torch.stack([v for _, v in held[1:]])
        return (1 - uncertain) * (1 - conflict), uncertain, conflict


def evidential(f: Tensor, texts: list[Tensor], same: Tensor, kl_weight: float) -> Tensor:
    """Return the loss of caption and descriptions fused, 1 + e / W = product of (1 + e^v / W), both directions."""
    total, count = torch.zeros(()), len(f)
    for image_to_text in (False, True):
        fused = torch.ones(count, count)
        for t in texts:
            cosines = f @ t.T if image_to_text else t @ f.T
            fused = fused * (1 + softplus(above(cosines, same)).masked_fill(same, 0) / PRIOR)
        evidence = PRIOR * (fused - 1)
        for i in range(count):
            prior = PRIOR / count
            alpha, y = evidence[i] + prior, torch.eye(count)[i]
            s = alpha.sum()
            p = alpha / s
            wrong = alpha * (1 - y) + prior * y  # evidence for the right image is left out
            kl = (
                lgamma(wrong.sum())
                - lgamma(wrong).sum()
                - lgamma(torch.tensor(PRIOR))
                + count * lgamma(torch.tensor(prior))
                + ((wrong - prior) * (torch.digamma(wrong) - torch.digamma(wrong.sum()))).sum()
            )
            total = total + ((y - p) ** 2 + p * (1 - p) / (s + 1)).sum() / count + kl_weight * kl / count
    return total


def hinges(f: Tensor, t: Tensor, margin: float, same: Tensor) -> Tensor:
    """Return (B,) the hinge on the hardest negative of both directions."""
    cosines, rows = f @ t.T, []
    for i in range(len(f)):
        others = [j for j in range(len(f)) if j != i and not same[i, j]]
        by_row = torch.stack([margin + cosines[i, j] - cosines[i, i] for j in others]).clamp(min=0).max()
        by_column = torch.stack([margin + cosines[j, i] - cosines[i, i] for j in others]).clamp(min=0).max()
        rows.append(by_row + by_column)
    return torch.stack(rows)


def contrast(f: Tensor, t: Tensor, scale: Tensor, directions: str, same: Tensor) -> Tensor:
    """Return (B,) the contrastive loss of each pair."""
    logits = scale * f @ t.T
    if directions == "both":
        return both_ways(logits, same)
    return pair_cross_entropies(logits if directions == "i2t" else logits.T, same)


def choice(query: Tensor, method: Acke) -> tuple[list[int], Tensor, Tensor]:
    """Return the nearest three keys of a query, their gates k softmax(gamma / tau), and gamma (M,)."""
    assert method.pool is not None
    assert method.pool.keys is not None
    gamma = torch.stack([(query * key).sum() / query.norm() / key.norm() for key in method.pool.keys])
    nearest = sorted(gamma.detach().topk(3).indices.tolist())
    powers = (gamma[nearest] / 0.3).exp()
    return nearest, 3 * powers / powers.sum(), gamma


def queries(method: Acke) -> tuple[Tensor, Tensor]:
    """Return what chooses: image features, and W times text features."""
    with torch.no_grad():
        images = method.backbone.encode_image(batch().images).pooled
        texts = torch.cat([method.backbone.encode_text(method.backbone.tokenize([t])).pooled for t in CAPTIONS])
    assert method.text_key is not None
    return images, texts @ method.text_key.weight.T


def pool_losses(method: Acke) -> dict[str, Tensor]:
    """Return the four losses of the pool."""
    assert method.pool is not None
    sides = [[choice(query, method) for query in side] for side in queries(method)]
    pull = sum(1 - torch.stack([gamma[m] for chosen, _, gamma in side for m in chosen]).mean() for side in sides)
    shares = [torch.stack([(gamma / 0.3).softmax(0) for _, _, gamma in side]) for side in sides]  # (B, M)
    balance = torch.zeros(())
    for side, share in zip(sides, shares, strict=True):
        used = torch.tensor([sum(m in chosen for chosen, _, _ in side) for m in range(6)]) / 18  # of B k choices
        balance = balance + 6 * (used * share.mean(0)).sum() / 2
    target = shares[0].detach()
    overlap = []
    for layer in method.pool.prompts:
        means = [prompt.mean(0) for prompt in layer]
        overlap += [
            torch.cosine_similarity(a, b, dim=0) ** 2
            for i, a in enumerate(means)
            for j, b in enumerate(means)
            if i != j
        ]
    return {
        "pull_loss": 0.5 * pull,
        "balance_loss": 0.35 * balance,
        "agree_loss": 0.8 * (target * (target / shares[1]).log()).sum() / 6,
        "overlap_loss": 0.45 * torch.stack(overlap).mean(),
    }


def pau(method: Acke, f: Tensor, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return PAU's weights (V, R) of descriptions, and the two losses of its prototypes."""
    assert method.view_losses.prototypes is not None
    prototypes, count = normalize(method.view_losses.prototypes, dim=-1), len(f)
    evidence = (4.0 * z @ prototypes.T).exp()
    belief = 1 - 3 / (evidence + 1).sum(-1)  # 1 - K / S
    weights = (-belief).exp().detach()
    align = torch.zeros(())
    for b, view in zip(belief, z, strict=True):
        similar = (1 + view @ f.T) / 2
        y = torch.stack([sum(similar[i, j] for j in range(count) if j != i) / count for i in range(count)])
        align = align + ((b - (b.mean() / y.mean()).detach() * y) ** 2).mean()
    near = prototypes @ prototypes.T
    overlap = sum(near[i, j] ** 2 for i in range(3) for j in range(3) if i != j) / 9
    return weights / weights.mean(), {"align_loss": 0.25 * align, "prototype_loss": 0.25 * overlap}


def view_parts(method: Acke, f: Tensor, g: Tensor, z: Tensor, same: Tensor) -> dict[str, Tensor]:
    """Return the parts of the loss that R described images have, from f (R, D), g (R, D) and z (V, R, D)."""
    scale, config = method.backbone.logit_scale, method.config
    weights, uncertain, conflict = trust(f, g, z, same)
    assert weights.std() > 0.2 * weights.mean(), "equal weights would prove nothing"
    weights = torch.ones_like(weights) if config.weights == "uniform" else weights / weights.mean()
    more: dict[str, Tensor] = {}
    if config.weights == "pau":
        weights, more = pau(method, f, z)
    share = 3 / 2  # two of three descriptions are drawn, and stand for all
    view = sum((w * contrast(f, t, scale, config.directions, same)).mean() for w, t in zip(weights, z, strict=True))
    view_hinge = sum((w * hinges(f, t, 0.37, same)).mean() for w, t in zip(weights, z, strict=True))
    return more | {
        "view_loss": 1.3 * share * view,
        "view_hinge_loss": 0.9 * share * view_hinge,
        "evidential_loss": 0.6 * evidential(f, [g, *z], same, 0.4 * 1 / 4),
        "view_uncertainty": uncertain.mean(),
        "view_conflict": conflict.mean(),
    }


def expected(method: Acke, rows: list[int], described: list[list[str]]) -> dict[str, Tensor]:
    """Return every part of the loss, in the first training step; `rows` of the batch have descriptions."""
    f, g = method.encode_image(batch().images), method.encode_text(CAPTIONS)
    z = torch.stack([method.encode_text(texts) for texts in described])  # (V, R, D)
    assert (f @ g.T < 0).any(), "cosines of both signs"
    assert (f @ g.T > 0).any()
    same = torch.tensor([[bool(SAME[i, j]) for j in rows] for i in rows])
    return {
        **pool_losses(method),
        **view_parts(method, f[rows], g[rows], z, same),
        "contrastive_loss": contrast(f, g, method.backbone.logit_scale, method.config.directions, SAME).mean(),
        "hinge_loss": 0.7 * hinges(f, g, 0.37, SAME).mean(),
    }


def gradients(losses: dict[str, Tensor], method: Acke) -> dict[str, Tensor]:
    total = torch.stack([value for key, value in losses.items() if key.endswith("_loss")]).sum()
    names, parameters = zip(*((n, p) for n, p in method.named_parameters() if p.requires_grad), strict=True)
    return dict(zip(names, torch.autograd.grad(total, parameters), strict=True))


def require_expected(method: Acke, rows: list[int]) -> None:
    """Compare every part of the loss and its gradient with the formulas; `rows` of the batch have descriptions."""
    torch.manual_seed(5)
    found_rows, described = method.draw_views(batch())
    assert found_rows == rows
    wanted = expected(method, rows, described)
    torch.manual_seed(5)
    found = method.losses(batch())
    assert {key for key in found if key.endswith("_loss")} == {key for key in wanted if key.endswith("_loss")}
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    right = gradients(wanted, method)
    for name, gradient in gradients(found, method).items():
        size = float(right[name].abs().max())
        assert size > 0, name
        torch.testing.assert_close(
            gradient, right[name], rtol=1e-2, atol=2e-3 * size, msg=lambda t, n=name: f"{n}: {t}"
        )


@pytest.mark.parametrize(
    ("weights", "directions"), [("evidence", "both"), ("evidence", "t2i"), ("uniform", "i2t"), ("pau", "both")]
)
def test_every_part_of_the_loss_and_its_gradient(weights: str, directions: str) -> None:
    require_expected(acke(weights=weights, directions=directions).train(), list(range(6)))


def test_images_without_descriptions_have_the_other_parts_alone() -> None:
    """Rows 1 and 4 show one image; rows 0 and 3, which share a caption, are not both among the described."""
    method = acke(views=written_views("135"), missing_views="skip").train()
    require_expected(method, [1, 3, 4, 5])


def test_each_image_draws_its_own_descriptions() -> None:
    """Of 60 images some draw each of the six ordered pairs of the three descriptions."""
    method = acke()
    torch.manual_seed(0)
    _, drawn = method.draw_views(Batch(batch().images, CAPTIONS * 10, IDS * 10))
    known = method.views.of(IDS * 10, CAPTIONS * 10)
    places = {tuple(own.index(text) for text in texts) for own, *texts in zip(known, *drawn, strict=True)}
    assert places == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}


def test_images_and_texts_are_read_with_the_gated_prompts_they_choose() -> None:
    """One input at a time: k prompts of two positions, in two layers, each times its gate; texts get phi of them."""
    method = acke()
    assert method.pool is not None
    assert method.projector is not None
    assert method.image_change is not None
    assert method.text_change is not None
    backbone = method.backbone
    change_images, change_texts, pixels = method.image_change, method.text_change, batch().images

    def prompts_of(query: Tensor, pool: Tensor) -> Prompts:
        chosen, gate, _ = choice(query, method)
        assert gate.std() > 0.02, "equal gates would prove nothing"
        layers = [[gate[i] * layer[m, place] for i, m in enumerate(chosen) for place in range(2)] for layer in pool]
        return Prompts.of([torch.stack(layer)[None] for layer in layers], 1)

    with torch.no_grad():
        images, texts = method.encode_image(pixels), method.encode_text(CAPTIONS)
        by_image, by_text = queries(method)
        of_texts = method.projector(method.pool.prompts)
        for row, caption in enumerate(CAPTIONS):
            read = backbone.encode_image(pixels[row : row + 1], prompts_of(by_image[row], method.pool.prompts))
            unit = normalize(read.pooled + read.hidden @ change_images.weight.T + change_images.bias, dim=-1)
            torch.testing.assert_close(images[row], unit[0], rtol=1e-3, atol=1e-5)
            read = backbone.encode_text(backbone.tokenize([caption], 6), prompts_of(by_text[row], of_texts))
            unit = normalize(read.pooled + read.hidden @ change_texts.weight.T + change_texts.bias, dim=-1)
            torch.testing.assert_close(texts[row], unit[0], rtol=1e-3, atol=1e-5)


def test_captions_read_beside_wrong_images_by_the_formula() -> None:
    method = acke(acp="pairwise", weights="none", pairwise_negatives=3).train()
    f, scale = method.encode_image(batch().images), method.backbone.logit_scale
    with torch.no_grad():
        by_image = method.frozen.of_images(batch().images)
    beside = torch.zeros(6, 6)  # image, caption
    for image in range(6):
        read = normalize(method.read_beside(CAPTIONS, by_image[image].expand(6, -1)), dim=-1)
        beside[image] = scale * read @ f[image]
    total = torch.zeros(())
    for i in range(6):
        of_caption = [j for d in (1, 2, 3) if not SAME[j := (i - d) % 6, i]]
        of_image = [j for d in (1, 2, 3) if not SAME[i, j := (i + d) % 6]]
        right = beside[i, i]
        total = total + torch.stack([right, *(beside[j, i] for j in of_caption)]).exp().sum().log() - right
        total = total + torch.stack([right, *(beside[i, j] for j in of_image)]).exp().sum().log() - right
    torch.testing.assert_close(method.losses(batch())["pairwise_loss"], total / 6, rtol=1e-3, atol=1e-4)


def test_a_small_batch_meets_each_wrong_image_once() -> None:
    """Two captions, and more negatives requested than there are: the right image is no negative of its own."""
    method = acke(acp="pairwise", weights="none", pairwise_negatives=5).train()
    part = Batch(batch().images[:2], CAPTIONS[:2], IDS[:2])
    f, scale = method.encode_image(part.images), method.backbone.logit_scale
    with torch.no_grad():
        by_image = method.frozen.of_images(part.images)
    beside = torch.stack(
        [
            scale * normalize(method.read_beside(CAPTIONS[:2], own.expand(2, -1)), dim=-1) @ row
            for row, own in zip(f, by_image, strict=True)
        ]
    )  # image, caption
    wanted = sum(-beside.log_softmax(way)[i, i] for way in (0, 1) for i in range(2)) / 2
    torch.testing.assert_close(method.losses(part)["pairwise_loss"], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_descriptions_are_compared_from_two_images_on(count: int, tmp_path: Path) -> None:
    """A single described image has nothing to be compared with."""
    known = {name: Views(f"a {name} thing", "grass", "a dog", "a model") for name in ["9", *IDS[:count]]}
    ViewKnowledge(known).save(tmp_path / "views.jsonl")
    method = acke(views=str(tmp_path / "views.jsonl"), missing_views="skip").train()
    found = method.losses(batch())
    assert ("view_loss" in found) == (count == 2)
    with pytest.raises(DataError, match="crosscue describe views"):
        acke(views=str(tmp_path / "views.jsonl")).train().losses(batch())


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Return unit vectors of six images, their captions, and two descriptions of each, which fit less and less."""
    generator = torch.Generator().manual_seed(3)
    f = normalize(torch.randn(6, 8, generator=generator), dim=-1)
    g = normalize(f + 0.3 * torch.randn(6, 8, generator=generator), dim=-1)
    noise = torch.linspace(0.05, 0.7, 6)[:, None] * torch.randn(2, 6, 8, generator=generator)
    return f, g, normalize(f + noise, dim=-1)


def test_shuffled_weights_are_those_of_other_images() -> None:
    f, g, z = drawn()
    losses = ViewLosses(AckeConfig(**OPTIONS | {"weights": "shuffled"}), 8)
    weights, scale = trust(f, g, z, SAME)[0], torch.tensor(9.0)
    assert weights.std() > 0.2 * weights.mean()
    torch.manual_seed(3)
    order = torch.randperm(6)
    assert order.tolist() != list(range(6))
    torch.manual_seed(3)
    found = losses(f, g, z, SAME, scale, 1)
    moved = weights[:, order] / weights.mean()
    view = sum((w * contrast(f, t, scale, "both", SAME)).mean() for w, t in zip(moved, z, strict=True))
    hinge = sum((w * hinges(f, t, 0.37, SAME)).mean() for w, t in zip(moved, z, strict=True))
    torch.testing.assert_close(found["view_loss"], 1.3 * 1.5 * view)
    torch.testing.assert_close(found["view_hinge_loss"], 0.9 * 1.5 * hinge)


@torch.no_grad()
def test_evidence_by_default_is_that_of_the_logit_scale_above_two_deviations() -> None:
    """u = K / (K + sum e), e = exp(scale (cosine - mean - 2 sd)) - 1: the background of a query has its own image too."""
    options: dict[str, Any] = {"evidence_scale": None, "evidence_margin": None, "prior_weight": None}

    def vacuity(row: Tensor, background: Tensor, scale: float) -> Tensor:
        limit = background.mean() + 2 * background.std(correction=0)
        evidence = (scale * (row - limit)).clamp(0, 10).exp() - 1
        return len(row) / (len(row) + evidence.sum())

    f, g, z = drawn()
    others = ~torch.eye(6, dtype=torch.bool)
    found = ViewLosses(AckeConfig(**OPTIONS | options), 8)(f, g, z, None, torch.tensor(9.0), 1)
    wanted = [vacuity(f @ z[v, i], (f @ z[v, i])[others[i]], 9.0) for v in range(2) for i in range(6)]
    assert 0.05 < min(wanted) < 0.5
    torch.testing.assert_close(found["view_uncertainty"], torch.stack(wanted).mean())
    method = acke(**options)
    scores = torch.tensor([[0.9, 0.1, 0, -0.1, 0.05, 0, 0.1, -0.05, 0.02], [0.1, 0, 0, 0, 0, 0, 0, 0, 0.7]])
    wanted = [vacuity(row, row, float(method.backbone.logit_scale)) for row in scores]
    torch.testing.assert_close(method.query_uncertainty(scores), torch.stack(wanted))


@torch.no_grad()
def test_a_leaking_caption_is_trained_with_the_choice_of_its_own_image() -> None:
    method = acke(acp="paired_leaky", allow_leak=True, weights="none").train()
    f, by_image = method.encode_image(batch().images), method.frozen.of_images(batch().images)
    g = [method.read_beside([text], query[None])[0] for text, query in zip(CAPTIONS, by_image, strict=True)]
    found, scale = method.losses(batch()), method.backbone.logit_scale
    wanted = contrast(f, normalize(torch.stack(g), dim=-1), scale, "both", SAME).mean()
    torch.testing.assert_close(found["contrastive_loss"], wanted, rtol=1e-3, atol=1e-4)
    alone = contrast(f, method.encode_text(CAPTIONS), scale, "both", SAME).mean()
    assert abs(float(alone - wanted)) > 1e-2


def test_prompts_of_the_pool_start_small_and_keys_do_not() -> None:
    torch.manual_seed(0)
    pool = PromptPool(PoolShape(9, 2, 3), 32, 64, "learned")
    assert 0.015 < float(pool.prompts.detach().std()) < 0.025
    assert pool.keys is not None
    assert 0.8 < float(pool.keys.detach().std()) < 1.2


@torch.no_grad()
def test_a_gallery_takes_descriptions_by_their_share_of_trust() -> None:
    method = acke()
    images, views = method.encode_image(batch().images), [CAPTIONS, CAPTIONS[::-1], [*CAPTIONS[2:], *CAPTIONS[:2]]]
    z = torch.stack([method.encode_text(view) for view in views])  # (V, N, D)
    trust = gallery_trust(images, z, SHARP, margin=MARGIN, prior_weight=PRIOR)
    assert (trust.std(0) > 1e-3).any()
    shares = torch.stack([trust[:, i] / trust[:, i].sum() for i in range(6)], 1)
    wanted = [images[i] + 0.7 * sum(shares[v, i] * z[v, i] for v in range(3)) for i in range(6)]
    torch.testing.assert_close(method.enrich(images, views, 0.7), torch.stack(wanted), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_pair_is_scored_by_a_share_eta_of_the_caption_read_beside_it() -> None:
    method = acke(acp="pairwise", weights="none", eta=0.3)
    pairs, plain = method.pair_features(batch().images), torch.linspace(-0.5, 0.5, 6)
    images, queries = method.encode_image(batch().images), method.frozen.of_images(batch().images)
    beside = torch.stack(
        [method.read_beside([text], query[None])[0] for text, query in zip(CAPTIONS, queries, strict=True)]
    )
    wanted = 0.7 * plain + 0.3 * torch.cosine_similarity(images, beside)
    torch.testing.assert_close(method.pair_scores(pairs, plain, CAPTIONS), wanted, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_uncertainty_of_a_query_is_the_vacuity_of_its_opinion() -> None:
    """u = W / (W + sum e), e = exp(SHARP (cosine - mean of the row - MARGIN)) - 1 where that is positive."""
    method, scores = acke(), torch.tensor([[0.3, 0.1, -0.2, 0.25], [0.4, -0.3, 0.0, 0.1]])
    evidence = [(SHARP * (row - row.mean() - MARGIN)).clamp(0, 10).exp() - 1 for row in scores]
    wanted = torch.stack([PRIOR / (PRIOR + own.sum()) for own in evidence])
    torch.testing.assert_close(method.query_uncertainty(scores), wanted)
