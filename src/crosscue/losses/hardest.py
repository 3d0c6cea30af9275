"""The hinge on the hardest negative (VSE++ eq. 6), pair by pair."""

from __future__ import annotations

import torch
from torch import Tensor


def hardest_hinge(cosines: Tensor, margin: float, not_negative: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns r, c (B,), the hinge of each pair on its hardest negative, by rows and by columns (VSE++ eq. 6, L_tri of ACKE).

    r_i = max over j != i of [m + C_ij - C_ii]+, c_j = max over i != j of [m + C_ij - C_jj]+.

    Args:
        cosines: (B, B) C, matches on the diagonal.
        margin: m.
        not_negative: (B, B) bool, other matches, which are no negatives; see `same_meaning`.
    """
    right = cosines.diagonal()
    matches = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    if not_negative is not None:
        matches = matches | not_negative
    by_row = (margin + cosines - right[:, None]).clamp(min=0).masked_fill(matches, 0)
    by_column = (margin + cosines - right[None]).clamp(min=0).masked_fill(matches, 0)
    return by_row.amax(1), by_column.amax(0)
