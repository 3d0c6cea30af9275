"""The pairs that a run learned from and was validated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.configuration import configured
from crosscue.data.contents import contents
from crosscue.data.features import features_protocol
from crosscue.errors import OptionError, RunError
from crosscue.storage import read_json, write_json

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs

FILE = "pairs.json"
RESTORE = "Restore the file, or adapt again."


@dataclass(frozen=True)
class Provenance:
    """Hashes of the images of a run, in the order of its pairs; see `contents`."""

    train: list[str]
    val: list[str]

    @classmethod
    def of(cls, train: Pairs | Sequence[Any], val: Pairs | None) -> Provenance:
        """Returns the hashes of training and validation pairs."""
        return cls(*(contents([pair.image for pair in part]) for part in (train, val or ())))

    @classmethod
    def load(cls, folder: Path) -> Provenance:
        """Reads them from a run folder.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            return configured(cls, read_json(folder / FILE, RunError, RESTORE), "pairs")
        except OptionError as error:
            raise RunError(f"{folder / FILE}: not as written by crosscue: {error} {RESTORE}") from error

    def save(self, folder: Path) -> None:
        """Writes them to a run folder."""
        write_json(folder / FILE, asdict(self))

    def unseen(self, pairs: Pairs) -> tuple[Pairs, dict[str, Any]]:
        """Returns the pairs whose images the run did not learn from, and the entries of a protocol about the others.

        Where fewer than two are left, the pairs come back whole, and the entries mark the result as not comparable.
        """
        found, known, chosen = contents(pairs.images), set(self.train), set(self.val)
        fresh = [pair for pair, image in zip(pairs, found, strict=True) if image not in known]
        count = len(pairs) - len(fresh)
        trained = f"{count:,} of {len(pairs):,} images were trained on"
        if count and len(fresh) < 2:
            return pairs, {"comparable": False, "not_comparable": trained}
        validated = sum(image in chosen for image in found if image not in known)
        entries = {"left_out": trained} if count else {}
        if validated:
            entries["validated_on"] = f"{validated:,} of the {len(fresh):,} evaluated images validated the run"
        return (pairs.part(fresh, "[held out]") if count else pairs), entries


def data_record(source: Pairs, train: Pairs, val: Pairs | None) -> dict[str, Any]:
    """Returns the sizes and fingerprints of the pairs of a run, for environment.json."""
    return {
        "source": source.source,
        "train": {"images": len(train), "fingerprint": train.fingerprint()},
        "val": {"images": len(val), "fingerprint": val.fingerprint()} if val else None,
        **features_protocol(train.images),
    }
