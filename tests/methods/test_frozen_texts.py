"""Features of captions that the runs of a grid share."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from crosscue.methods.parts import frozen_texts
from crosscue.methods.parts.frozen_texts import KEPT, FrozenTexts
from crosscue.testing import tiny_backbone


def test_a_set_that_was_encoded_lately_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = copy.deepcopy(tiny_backbone("clip"))
    sets = [["a red thing", "two dogs"], ["a cat"], ["two dogs"]]
    wanted = [torch.stack([FrozenTexts(backbone).read([text])[0] for text in texts]) for texts in sets]
    passes = list[int]()
    real = backbone.encode_text
    monkeypatch.setattr(backbone, "encode_text", lambda tokens: (passes.append(len(tokens.ids)), real(tokens))[1])

    def filled(texts: list[str], *, hidden: bool = False) -> torch.Tensor:
        features = FrozenTexts(backbone, hidden=hidden)
        features.memory.fill(texts)
        return features(texts)

    for texts, features in zip((*sets, sets[1]), (*wanted, wanted[1]), strict=True):
        torch.testing.assert_close(filled(texts), features)
    assert sum(passes) == 4, "the second time one caption is known"
    assert filled(sets[1], hidden=True).shape[1] > wanted[1].shape[1]
    assert sum(passes) == 5
    filled(sets[0])
    assert sum(passes) == 7, "only the last two sets are kept"
    monkeypatch.setattr(frozen_texts, "LARGEST", 1)
    filled(["three", "four"])
    filled(["three", "four"])
    assert sum(passes) == 11, "a large set is not kept"


def test_features_end_with_their_backbone() -> None:
    backbone = copy.deepcopy(tiny_backbone("dual"))
    FrozenTexts(backbone).memory.fill(["a cat"])
    assert len(KEPT[backbone]) == 1
    alive = weakref.ref(backbone)
    del backbone
    gc.collect()
    assert alive() is None
