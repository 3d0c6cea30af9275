"""The texts that the package brings along: queries of a tuning and a bank, where a collection or a run has none of its own."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from crosscue.encoding.hubness import TextBank

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder

BETA = 20.0
"""Sharpness of the shipped bank, as of a run whose validation chose none."""
_banks: dict[str, TextBank] = {}


def shipped_texts() -> list[str]:
    """Returns 200 short texts about everyday images."""
    return files("crosscue.search").joinpath("queries.txt").read_text(encoding="utf-8").splitlines()


def bank_of(encoder: Encoder) -> TextBank:
    """Returns the training captions of a run; where it has none, the shipped texts, which are encoded once a process."""
    if encoder.bank is not None:
        return encoder.bank
    run = encoder.identity.run
    if run not in _banks:
        _banks[run] = TextBank(encoder.encode_texts(shipped_texts()).vectors, BETA)
    return _banks[run]
