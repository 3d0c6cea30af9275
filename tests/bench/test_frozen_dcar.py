"""The experiment behind frozen towers (scripts/frozen_dcar.py), against the method that it stands for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from crosscue.backbones.frozen import write_bank
from crosscue.data.sources import read_pairs
from crosscue.losses.category import category_aware
from crosscue.losses.contrastive import contrastive, same_meaning
from tests.images import write_source
from tests.tiny import tiny_backbones

ROOT = Path(__file__).parents[2]
MODULES = ("frozen_dcar", "frozen_rows", "frozen_tables")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The two modules of the experiment, on a tiny backbone."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import frozen_dcar
    import frozen_rows

    monkeypatch.setattr(frozen_rows, "load_backbone", lambda *_, **__: tiny_backbones["dual"]())
    monkeypatch.setattr(frozen_dcar, "BATCH", 8)
    return frozen_dcar, frozen_rows


def test_the_features_and_the_loss_are_those_of_dcar(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    """Weighted captions as the method encodes them, and lambda1 L_con + lambda2 L_cate of one batch."""
    frozen, rows = scripts
    features = rows.read_features(rows.Domain(str(write_source(tmp_path / "a", val=0))), None)
    images, captions = normalize(features.train_images.pooled, dim=-1), features.captions
    for place in rows.PLACES:
        own = rows.built(place, tiny_backbones["dual"]())
        weighted = normalize(features.weighted[f"own, {place}"][0].pooled, dim=-1)
        assert torch.allclose(weighted, own.weighted(captions, images), atol=1e-5)
        assert not torch.allclose(weighted, normalize(features.weighted[f"wrong image, {place}"][0].pooled, dim=-1))
    row = next(row for row in rows.rows_of() if row.label == "near names, no head")
    chosen, edited = torch.arange(8), features.edited["near names"]
    wrong = torch.stack([normalize(edited.rows.pooled[edited.place[:8, column]], dim=-1) for column in (0, 1)], 1)
    plain = normalize(features.plain.pooled[:8], dim=-1)
    same = same_meaning(captions[:8], [str(index) for index in range(8)])
    loss = 0.8 * contrastive(images[:8], plain, features.scale, not_negative=same)
    loss = loss + 0.2 * category_aware(images[:8], plain, wrong, edited.weights[:8], 1.5, features.scale)
    untrained = frozen.Changes(features, head=False)
    assert frozen.losses(features, row, untrained, chosen).item() == pytest.approx(loss.item(), rel=1e-5)


def test_features_without_pixels_stand_for_both_outputs(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    """A bank holds the images in the shared space alone; `shots` draws from each category."""
    _, rows = scripts
    source = write_source(tmp_path / "a", val=0)
    write_bank(read_pairs(source), tiny_backbones["dual"](), source / "bank")
    pixels, bank = (rows.read_features(rows.Domain(str(data), shots=2), None) for data in (source, source / "bank"))
    assert pixels.captions == bank.captions
    assert len(bank.captions) == 8
    torch.testing.assert_close(bank.test_images.pooled, pixels.test_images.pooled)
    assert torch.equal(bank.test_images.hidden, bank.test_images.pooled)
    assert pixels.test_images.hidden.shape != pixels.test_images.pooled.shape


def test_every_row_and_claim_is_on_the_page(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    frozen, rows = scripts
    domain = rows.Domain(str(write_source(tmp_path / "a", val=0)))
    frozen.main(domain, tmp_path, seeds=2, steps=2, kept=tmp_path / "kept.pt")
    record, page = json.loads((tmp_path / "dcar_frozen.json").read_text()), (tmp_path / "dcar_frozen.md").read_text()
    assert all(f"| {label}" in page for label in record["rows"])
    assert all(f"| {claim['claim']} |" in page for claim in record["claims"])
    assert {entry[name] for entry in record["claims"] for name in ("row", "over")} <= set(record["rows"])
    assert all(len(row["recalls"]) == 2 for label, row in record["rows"].items() if label != "zero-shot")
