"""The domains of a grid: pairs for training and selection, and the test pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from crosscue.bench.grid import Evaluation
from crosscue.data.contents import contents
from crosscue.data.negatives import NegativesConfig, NegativeWriter, with_negatives
from crosscue.data.pairs import Pairs
from crosscue.data.sources import Reading, read_pairs
from crosscue.data.splits import bank_pairs, held_out
from crosscue.errors import DataError


@dataclass(frozen=True)
class Domain:
    """One source, with its test split apart from the pairs of training and selection."""

    name: str
    learn: Pairs
    """The pairs of every other split."""
    test: Pairs
    """Without the images that are in `learn` too, so that the gallery is the same for all rows."""
    left_out: int = 0
    """Number of these images."""

    @cached_property
    def learned_from(self) -> str:
        """Fingerprint of `learn`."""
        return self.learn.fingerprint()

    @cached_property
    def bank(self) -> Pairs:
        """The pairs of `learn` whose queries may correct scores on `test`."""
        return bank_pairs(self.learn, self.test)

    @cached_property
    def measured_on(self) -> str:
        """Fingerprint of `test`, as in the results."""
        return self.test.fingerprint()


def read_domains(
    data: Sequence[str], names: Sequence[str], reading: Reading, negatives: NegativesConfig | None
) -> list[Domain]:
    """Reads the domains of a grid.

    Args:
        data: sources, or NAME=SOURCE; with `names` and without `=` the one folder of FDRD and its datasets.
        names: FDRD's names of the domains; of sources with names, the ones to take.
        reading: how sources are read.
        negatives: how many to write for training pairs that have categories and no negatives.

    Raises:
        DataError: no source, two of one name, or one without a test split of its own images.
    """
    if not data:
        raise DataError("give training pairs: --data SOURCE [SOURCE ...]; for an FDRD grid --data FOLDER.")
    if names and not any("=" in source for source in data):
        if len(data) > 1:
            raise DataError("this grid reads FDRD domains: give one folder to --data, or NAME=SOURCE for each domain.")
        read = {name: read_pairs(data[0], reading=replace(reading, kind="fdrd", domain=name)) for name in names}
    else:
        sources = [_named(source) for source in data]
        for name, _ in sources:
            if sum(name == other for other, _ in sources) > 1:
                raise DataError(f"two sources are called '{name}': write --data NAME=SOURCE to tell them apart.")
        absent = [name for name in names if name not in dict(sources)]
        if absent:
            raise DataError(
                f"--data names no source for: {', '.join(absent)}. Add NAME=SOURCE, or choose other --domains."
            )
        read = {name: read_pairs(source, reading=reading) for name, source in sources if not names or name in names}
    return [_domain(name, pairs, negatives) for name, pairs in read.items()]


def read_others(data: Sequence[str], evaluations: Sequence[Evaluation], reading: Reading) -> dict[str, Pairs]:
    """Returns the pairs of every `evaluate:` entry that names its own: `data` -> pairs, the test split where there is one.

    Raises:
        DataError: neither a NAME of --data nor a source.
    """
    named = dict(_named(source) for source in data)
    wanted = {entry.data for entry in evaluations if entry.data is not None}
    return {name: held_out(read_pairs(named.get(name, name), reading=reading)) for name in sorted(wanted)}


def _named(source: str) -> tuple[str, str]:
    name, equals, path = source.partition("=")
    return (name, path) if equals and not Path(source).exists() else (Path(source).stem, source)


def _domain(name: str, pairs: Pairs, negatives: NegativesConfig | None) -> Domain:
    if "test" not in pairs.splits or pairs.splits == ["test"]:
        found = ", ".join(pairs.splits) or "none"
        raise DataError(
            f"{pairs.source}: a domain needs pairs to learn from and a split 'test' (splits: {found}). Add a column 'split'."
        )
    learn = Pairs((pair for pair in pairs if pair.split != "test"), name, pairs.origin)
    if negatives is not None and learn.categories and not any(pair.negatives for pair in learn):
        learn, _ = with_negatives(learn, NegativeWriter(learn, negatives))
    test = Pairs((pair for pair in pairs if pair.split == "test"), name, pairs.origin)
    known = set(contents(learn.images))
    fresh = [pair for pair, image in zip(test, contents(test.images), strict=True) if image not in known]
    left_out = len(test) - len(fresh)
    if left_out and len(fresh) < 2:
        raise DataError(
            f"{pairs.source}: {left_out:,} of {len(test):,} test images are also in another split, and two others are needed. "
            f"List them: crosscue data check {pairs.origin}"
        )
    return Domain(name, learn, test.part(fresh) if left_out else test, left_out)
