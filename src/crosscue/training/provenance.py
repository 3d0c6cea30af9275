"""The pairs that a run learned from and was validated on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscue.data.features import features_protocol

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs


def data_record(source: Pairs, train: Pairs, val: Pairs | None) -> dict[str, Any]:
    """Returns the sizes and fingerprints of the pairs of a run, for environment.json."""
    return {
        "source": source.source,
        "train": {"images": len(train), "fingerprint": train.fingerprint()},
        "val": {"images": len(val), "fingerprint": val.fingerprint()} if val else None,
        **features_protocol(train.images),
    }
