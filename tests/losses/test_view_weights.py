"""Trust in the descriptions of a gallery, description by description, by the formula."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from crosscue.losses.view_weights import gallery_trust

SCALE, MARGIN, PRIOR = 20.0, 0.05, 3.0


def test_trust_in_a_gallery_is_certainty_times_agreement() -> None:
    """(1 - u) (1 - mean DC), with u = W / S and DC = sum |p - q| / 2 (1 - u) (1 - v), in blocks of any size."""
    torch.manual_seed(0)
    images = normalize(torch.randn(5, 8), dim=-1)
    views = normalize(images + 0.7 * torch.randn(3, 5, 8), dim=-1)
    expected = torch.zeros(3, 5)
    for image in range(5):
        held = []
        for view in views[:, image]:
            cosines = images @ view
            others = torch.stack([cosines[other] for other in range(5) if other != image])
            evidence = (SCALE * (cosines - others.mean() - MARGIN)).clamp(0, 10).exp() - 1
            uncertainty = PRIOR / (PRIOR + evidence.sum())
            held.append((evidence / (PRIOR + evidence.sum()) + uncertainty / 5, uncertainty))
        for view, (p, u) in enumerate(held):
            conflicts = [
                (p - q).abs().sum() / 2 * (1 - u) * (1 - v) for other, (q, v) in enumerate(held) if other != view
            ]
            expected[view, image] = (1 - u) * (1 - sum(conflicts) / 2)
    assert expected.std() > 0.1
    for block in (2, 256):
        found = gallery_trust(images, views, SCALE, margin=MARGIN, prior_weight=PRIOR, block=block)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    alone = gallery_trust(images, views[:1], SCALE, margin=MARGIN, prior_weight=PRIOR)
    assert (alone > expected[:1] - 1e-6).all(), "one description conflicts with nothing"
