"""The whole loss of the released ACKE a second time: as meant, and with all of its defects."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.knowledge.views.record import ViewKnowledge, Views
from crosscue.methods.acke.released import DEFECTS, ReleasedAcke
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from tests.methods.formulas import both_ways
from tests.tiny import SIZE, square_clip

CAPTIONS = ["a red thing", "two dogs on a black cat", "pink", "the blue dog is on the grey cat"]
COUNT, MEMBERS, MARGIN = 4, 3, 0.9


def released(folder: Path, defects: tuple[str, ...]) -> ReleasedAcke:
    views = {
        str(row): Views(f"the {word} cat is on the dog", f"{word} things", f"a {word} dog in a photo", "a model")
        for row, word in enumerate(("red", "black", "pink", "blue"))
    }
    ViewKnowledge(views).save(folder / "views.jsonl")
    torch.manual_seed(0)
    options = {"pool_size": MEMBERS, "top_k": 2, "projector_width": 16, "acp": "vision", "margin": MARGIN}
    method = build("acke_released", square_clip(), options | {"views": str(folder / "views.jsonl"), "defects": defects})
    assert isinstance(method, ReleasedAcke)
    return method


def hinges(f: Tensor, t: Tensor) -> Tensor:
    """(B,) the hinge of both directions on the hardest negative."""
    cosines = f @ t.T
    rows = [[j for j in range(COUNT) if j != i] for i in range(COUNT)]
    by_row = [max(0.0, *(MARGIN + float(cosines[i, j] - cosines[i, i]) for j in rows[i])) for i in range(COUNT)]
    by_column = [max(0.0, *(MARGIN + float(cosines[j, i] - cosines[i, i]) for j in rows[i])) for i in range(COUNT)]
    return torch.tensor(by_row) + torch.tensor(by_column)


@pytest.mark.parametrize("defects", [(), DEFECTS], ids=["meant", "released"])
@torch.no_grad()
def test_every_part_of_the_released_loss(tmp_path: Path, defects: tuple[str, ...]) -> None:
    method = released(tmp_path, defects)
    pixels = torch.randint(
        0, 256, (COUNT, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    batch, scale = Batch(pixels, CAPTIONS, [str(row) for row in range(COUNT)]), float(method.backbone.logit_scale)
    f, g = method.encode_image(pixels), method.encode_text(CAPTIONS)
    described = list(zip(*(method.views.of([str(row)], [""])[0] for row in range(COUNT)), strict=True))
    assert len(described) == 3
    assert method.pool is not None
    prototypes = normalize(method.projector(method.pool.prompts[0].mean(1)), dim=-1)  # (M, D)
    none = torch.zeros(COUNT, COUNT, dtype=torch.bool)
    hinge = contrast = align = 0.0
    for texts in described:
        z = method.text_features(texts)
        unit = normalize(z, dim=-1)
        compared = z if defects else unit
        evidence = (scale * (compared @ prototypes.T) / 5).double().exp()
        belief = 1 - MEMBERS / (evidence + 1).sum(1)  # 1 - K / S
        weights = (-belief).exp().float()
        costs = hinges(f, unit)
        hinge += float(sum(weights) * sum(costs)) if defects else float(weights @ costs)
        contrast += float(both_ways(scale * f @ unit.T, none).mean())
        similar = scale * (g if defects else unit) @ f.T
        y = torch.stack([sum(similar[i, j] for j in range(COUNT) if j != i) / COUNT for i in range(COUNT)]).double()
        align += float(((belief - belief.mean() / y.mean() * y) ** 2).mean())
    near = prototypes @ prototypes.T
    overlap = sum(float(near[i, j]) ** 2 for i in range(MEMBERS) for j in range(MEMBERS) if i != j) / MEMBERS**2
    wanted = {
        "contrastive_loss": float(both_ways(scale * f @ g.T, none).mean()),
        "hinge_loss": 0.1 * float(hinges(f, g).sum()),
        "view_hinge_loss": 0.001 * hinge,
        "view_loss": 0.001 * contrast,
        "prototype_loss": 0.1 * overlap * (3 * scale**2 if defects else 1),
        "align_loss": 100 * align,
    }
    found = method.losses(batch)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert math.isclose(float(found[name]), value, rel_tol=2e-3), name
