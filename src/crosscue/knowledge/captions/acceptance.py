"""Acceptance report of a set of captions: counts, lengths, duplicates, classes, judges, negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from crosscue.knowledge.captions.naming import names_class
from crosscue.knowledge.captions.record import CaptionRecord, Round
from crosscue.knowledge.captions.rewriting import duplicate_groups
from crosscue.markdown import markdown_table


@dataclass(frozen=True)
class Distribution:
    """Mean, median, percentiles and range of a sample."""

    mean: float
    median: float
    p5: float
    p95: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution | None:
        """Returns the distribution of a sample; None for an empty one."""
        if not values:
            return None
        array = np.asarray(values, dtype=np.float64)
        p5, median, p95 = (float(value) for value in np.percentile(array, (5, 50, 95)))
        return cls(float(array.mean()), median, p5, p95, float(array.min()), float(array.max()))


@dataclass
class Acceptance:
    """The acceptance report of one set."""

    images: int
    captions: int
    classes: int
    without_caption: list[str]
    """Ids of images without a caption at the end, except those that a person dropped."""
    tokens: Distribution | None
    max_tokens: int
    tokens_of: str
    """Backbone whose tokenizer counted the tokens."""
    too_long: list[str]
    """Ids of captions over the budget."""
    duplicate_rows: int
    """Captions that several images share."""
    duplicate_groups: int
    largest_group: int
    class_present: float
    """Share of the captions with a class that name it."""
    class_missing: list[str]
    flags: dict[str, int]
    mean_rounds: float
    final_score: Distribution | None
    """Smallest of the three scores of the best text, over the captions that the first judge scored."""
    judge_is_writer: bool
    judged_twice: int
    judges_agree: float | None
    """Share of the captions with two judges on which both verdicts are equal: good, or not good."""
    negatives: dict[str, Any] = field(default_factory=dict)
    """Counts by type and counts of defects; empty without negatives."""
    clip_score: Distribution | None = None
    """2.5 max(cos, 0) of image and caption in the named backbone."""
    clip_score_of: str | None = None

    @property
    def failures(self) -> list[str]:
        """Reasons against acceptance, in words; empty for an accepted set."""
        found = []
        if not self.captions:
            found.append("there are no captions")
        if self.class_missing:
            found.append(f"{len(self.class_missing):,} captions do not name their class, e.g. {self.class_missing[0]}")
        if self.too_long:
            found.append(f"{len(self.too_long):,} captions are over {self.max_tokens} tokens, e.g. {self.too_long[0]}")
        if self.without_caption:
            found.append(f"{len(self.without_caption):,} images have no caption, e.g. {self.without_caption[0]}")
        defects = {name: count for name, count in self.negatives.get("defects", {}).items() if count}
        found += [f"negatives: {count:,} {name.replace('_', ' ')}" for name, count in defects.items()]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return {"accepted": not self.failures, "failures": self.failures, **asdict(self)}


def acceptance(
    records: Sequence[CaptionRecord],
    *,
    max_tokens: int,
    tokens_of: str,
    negatives: dict[str, Any],
    clip_scores: Sequence[float] | None = None,
    clip_score_of: str | None = None,
) -> Acceptance:
    """Returns the report of finished records."""
    written = [record for record in records if record.caption]
    named = [record for record in written if record.class_name is not None]
    missing = [record.id for record in named if not names_class(record)]
    groups = duplicate_groups(written)
    sizes = [len(members) for members in groups.values()]
    twice = [pair for record in records if (pair := _both_judges(record)) is not None]
    writers = {record.provenance.get("writer", {}).get("model") for record in records}
    judges = {(record.provenance.get("judge") or {}).get("model") for record in records} - {None}
    firsts = [rounds for record in records if (rounds := _first_judge(record))]
    return Acceptance(
        images=len(records),
        captions=len(written),
        classes=len({record.class_name for record in named}),
        without_caption=[record.id for record in records if not record.caption and "dropped" not in record.flags],
        tokens=Distribution.of([record.n_tokens for record in written]),
        max_tokens=max_tokens,
        tokens_of=tokens_of,
        too_long=[record.id for record in written if record.n_tokens > max_tokens],
        duplicate_rows=sum(sizes),
        duplicate_groups=len(sizes),
        largest_group=max(sizes, default=1 if written else 0),
        class_present=1 - len(missing) / len(named) if named else 1.0,
        class_missing=missing,
        flags=dict(sorted(Counter(flag for record in records for flag in record.flags).items())),
        mean_rounds=sum(map(len, firsts)) / len(firsts) if firsts else 0.0,
        final_score=Distribution.of([max(entry.score for entry in rounds) for rounds in firsts]),
        judge_is_writer=bool(writers & judges),
        judged_twice=len(twice),
        judges_agree=sum(one.good == two.good for one, two in twice) / len(twice) if twice else None,
        negatives=negatives,
        clip_score=Distribution.of(list(clip_scores)) if clip_scores is not None else None,
        clip_score_of=clip_score_of,
    )


def as_markdown(report: Acceptance, title: str) -> str:
    """Returns the report as a page."""
    verdict = "accepted" if not report.failures else "not accepted"
    lines = [f"# {title}: {verdict}", ""]
    lines += [f"- {failure}" for failure in report.failures] + ([""] if report.failures else [])
    rows: list[tuple[str, str]] = [
        ("images", f"{report.images:,}"),
        ("captions", f"{report.captions:,}"),
        ("classes", f"{report.classes:,}"),
        (f"tokens ({report.tokens_of}), budget {report.max_tokens}", _five(report.tokens, 0)),
        ("captions shared by several images", f"{report.duplicate_rows:,} in {report.duplicate_groups:,} groups"),
        ("largest group", f"{report.largest_group:,}"),
        ("captions that name their class", f"{report.class_present:.2%}"),
        ("judgements a caption", f"{report.mean_rounds:.2f}"),
        ("best judged score (1-5)", _five(report.final_score, 1)),
    ]
    if report.judges_agree is not None:
        rows.append((f"two judges agree, of {report.judged_twice:,}", f"{report.judges_agree:.1%}"))
    if report.clip_score is not None:
        rows.append((f"CLIPScore ({report.clip_score_of})", _five(report.clip_score, 3)))
    lines += [markdown_table(["", ""], rows, numbers=False), ""]
    if report.judge_is_writer:
        lines += ["Writer and judge are the same model, so its blind spots stay unseen.", ""]
    if report.flags:
        flags = [(name, f"{count:,}") for name, count in report.flags.items()]
        lines += [markdown_table(["flag", "records"], flags, numbers=False), ""]
    if report.negatives:
        defects = {f"defect: {name.replace('_', ' ')}": n for name, n in report.negatives.get("defects", {}).items()}
        counts = [(name, f"{n:,}") for name, n in (report.negatives.get("counts", {}) | defects).items()]
        lines += [markdown_table(["negatives", ""], counts, numbers=False), ""]
    return "\n".join(lines)


def _five(values: Distribution | None, digits: int) -> str:
    if values is None:
        return "none"
    return (
        f"mean {values.mean:.{max(digits, 1)}f}, median {values.median:.{digits}f}, 5-95 % {values.p5:.{digits}f}-"
        f"{values.p95:.{digits}f}, range {values.minimum:.{digits}f}-{values.maximum:.{digits}f}"
    )


def _first_judge(record: CaptionRecord) -> list[Round]:
    return [entry for entry in record.rounds if not entry.outcome.startswith("second")]


def _both_judges(record: CaptionRecord) -> tuple[Round, Round] | None:
    second = next((entry for entry in record.rounds if entry.outcome.startswith("second")), None)
    if second is None:
        return None
    first = next((entry for entry in reversed(_first_judge(record)) if entry.text == second.text), None)
    return (first, second) if first is not None else None
