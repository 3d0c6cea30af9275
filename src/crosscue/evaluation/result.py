"""The result of an evaluation: recall in both directions, with everything a number needs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from crosscue.errors import RunError
from crosscue.evaluation.diagnostics import Diagnostic
from crosscue.evaluation.group_recall import group_aware
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.recall import KS, Recall, hits, metrics, recall, rsum
from crosscue.evaluation.slices import by_category, by_wording
from crosscue.intervals import Interval, interval_of, resampled
from crosscue.retrieval.firsts import firsts
from crosscue.retrieval.reranking import Reranked
from crosscue.retrieval.scores import Scores
from crosscue.storage import write_json

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.evaluation.survey import Survey

DIRECTIONS = ("i2t", "t2i")
ARROWS = {"i2t": "image → text", "t2i": "text → image"}


@dataclass(frozen=True)
class Retrieval:
    """Recall of one method on one set of pairs."""

    i2t: Recall
    t2i: Recall
    ranks: dict[str, Ranks]
    """Per query, for paired tests and intervals; `i2t` by image, `t2i` by caption."""
    owner: np.ndarray
    """(M,) the image of each caption."""
    protocol: dict[str, Any]
    """Gallery size, captions per image, tie rule, hashes, method, backbone, precision."""
    pairs: Pairs | None = field(default=None, repr=False, compare=False)
    """The evaluated pairs; None for a result read from JSON."""
    scores: Scores | None = field(default=None, repr=False, compare=False)
    """Of every image with every caption, before re-ranking; not written to disk."""
    again: tuple[Reranked, Reranked] | None = field(default=None, repr=False, compare=False)
    """Re-ranked candidates of both directions with their new scores; not written to disk. None without re-ranking."""
    survey: Survey | None = field(default=None, repr=False, compare=False)
    """Parts of a report that were read in one pass over these scores; not written to disk."""
    minimal_pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    """Kind of edit -> how often an image preferred its caption to an edited one, in percent; empty without `minimal_pairs`."""
    diagnostics: Sequence[Diagnostic] = ()
    """Controls of methods that encode images beside texts."""

    stored: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict, repr=False, compare=False)
    """Slices and group-aware recall of a result read from JSON, by name."""

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Direction -> r1, r5, r10 -> recall in percent with its 95 % bootstrap interval."""
        kinds = [([hits(self.ranks[d], k) for k in KS], self.clusters(d)) for d in DIRECTIONS]
        return {
            direction: {f"r{k}": interval_of(*one) for k, *one in zip(KS, values, means, strict=True)}
            for direction, (values, _), means in zip(DIRECTIONS, kinds, resampled(kinds), strict=True)
        }

    @cached_property
    def categories(self) -> dict[str, dict[str, float]]:
        """Category -> R@1 of both directions in percent, and the number of images."""
        if self.pairs is None:
            return self.stored.get("categories", {})
        return by_category(self.pairs, self.ranks["i2t"], self.ranks["t2i"])

    @cached_property
    def wordings(self) -> dict[str, dict[str, float]]:
        """Wording -> text-to-image recall of its captions in percent, and their number."""
        if self.pairs is None:
            return self.stored.get("wordings", {})
        return by_wording(self.pairs.captions, self.ranks["t2i"])

    @cached_property
    def group_aware(self) -> dict[str, Recall]:
        """Recall with any image right that shares the string of the caption; empty after re-ranking."""
        if self.pairs is None or self.scores is None:
            return {direction: Recall(**one) for direction, one in self.stored.get("group_aware", {}).items()}
        if "re-ranking" in self.protocol:
            return {}
        t2i = self.ranks["t2i"]
        return self.survey.groups.recalls(t2i) if self.survey is not None else group_aware(self.pairs, self.scores, t2i)

    @cached_property
    def firsts(self) -> tuple[Tensor, Tensor]:
        """(N,) the first caption of each image and (M,) the first image of each caption, before re-ranking."""
        assert self.scores is not None
        if self.survey is None:
            return firsts(self.scores)
        return self.survey.firsts.captions, self.survey.firsts.images

    @property
    def rsum(self) -> float:
        """Sum of the six recalls, at most 600."""
        return rsum(self.i2t, self.t2i)

    @property
    def comparable(self) -> bool:
        """False for diagnostics that see the pairing, and for images that were trained on: stamped NOT COMPARABLE."""
        return bool(self.protocol["comparable"])

    @property
    def stamp(self) -> str:
        """The reason of a result that is not comparable, as a clause; empty for others."""
        return "" if self.comparable else self.protocol.get("not_comparable", "this measurement sees the pairing")

    def clusters(self, direction: str) -> np.ndarray:
        """(Q,) which queries are resampled together: the captions of one image."""
        return np.arange(len(self.ranks["i2t"].better)) if direction == "i2t" else self.owner

    def interval(self, direction: str, k: int) -> Interval:
        """Returns R@k of one direction with its 95 % bootstrap interval."""
        return self.intervals[direction][f"r{k}"]

    def metrics(self) -> dict[str, float]:
        """Returns flat numbers for a log; see `recall.metrics`."""
        return metrics(self.i2t, self.t2i)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; `from_dict` reads them back."""
        pessimistic = {direction: asdict(recall(self.ranks[direction], "pessimistic")) for direction in DIRECTIONS}
        return {
            "i2t": asdict(self.i2t),
            "t2i": asdict(self.t2i),
            "rsum": self.rsum,
            "intervals": {d: {name: asdict(one) for name, one in by_k.items()} for d, by_k in self.intervals.items()},
            "pessimistic": pessimistic,
            "group_aware": {direction: asdict(result) for direction, result in self.group_aware.items()},
            "categories": self.categories,
            "wordings": self.wordings,
            "minimal_pairs": self.minimal_pairs,
            "protocol": self.protocol,
            "diagnostics": [asdict(diagnostic) for diagnostic in self.diagnostics],
            "queries": {
                direction: {name: getattr(self.ranks[direction], name).tolist() for name in Ranks.__annotations__}
                for direction in DIRECTIONS
            }
            | {"owner": self.owner.tolist()},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Retrieval:
        """Reads what `to_dict` wrote.

        Raises:
            RunError: it is something else.
        """
        try:
            stored = {
                direction: Ranks(**{name: np.asarray(values) for name, values in content["queries"][direction].items()})
                for direction in DIRECTIONS
            }
            return cls(
                Recall(**content["i2t"]),
                Recall(**content["t2i"]),
                stored,
                np.asarray(content["queries"]["owner"]),
                content["protocol"],
                stored={name: content[name] for name in ("categories", "group_aware", "wordings")},
                minimal_pairs=content.get("minimal_pairs", {}),
                diagnostics=[Diagnostic(**diagnostic) for diagnostic in content.get("diagnostics", [])],
            )
        except (KeyError, TypeError) as error:
            raise RunError(f"not a result written by crosscue evaluate ({error}). Measure again.") from error

    def save(self, path: Path) -> None:
        """Writes the result as JSON, atomically."""
        write_json(path, self.to_dict())
