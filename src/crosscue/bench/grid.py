"""A grid: the rows of a table and their settings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from crosscue.configuration import configured
from crosscue.data.negatives import NegativesConfig
from crosscue.errors import MethodError, OptionError, RunError
from crosscue.methods.capabilities import Untrained
from crosscue.methods.registry import config_of, method_class
from crosscue.retrieval.options import Inference
from crosscue.training.config import TrainingConfig

Shots = int | Literal["all"]
SAME_FOR_ALL = ("epochs", "batch_size", "gradient_accumulation", "patience", "seed", "trackers")
"""Training values that no row may have of its own: with them the methods would take different numbers of steps."""


@dataclass(frozen=True)
class Candidate:
    """One of the settings that validation chooses from."""

    training: dict[str, Any] = field(default_factory=dict)
    """Training values, e.g. lr."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the method."""


@dataclass(frozen=True)
class Row:
    """One line of a table: a method with its options."""

    method: str
    """A name from `crosscue methods`."""
    label: str = ""
    """Name in the tables; default the method's name."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the method."""
    training: dict[str, Any] = field(default_factory=dict)
    """Training values that differ from the grid's. What sets the number of optimiser steps cannot differ."""
    inference: Inference = field(default_factory=Inference)
    """Options of `crosscue evaluate`, e.g. the text mode or re-ranking; default those of the method."""
    vary: dict[str, list[Any]] = field(default_factory=dict)
    """Option -> values: the row becomes one row for each combination."""

    def expanded(self) -> list[Row]:
        """Returns the row itself, or a row for each combination of `vary`."""
        label = self.label or self.method
        rows = []
        for values in itertools.product(*self.vary.values()):
            named = dict(zip(self.vary, values, strict=True))
            words = [label, *(f"{option}={value}" for option, value in named.items())]
            rows.append(replace(self, label=" ".join(words), options=self.options | named, vary={}))
        return rows


@dataclass(frozen=True)
class Claim:
    """A difference between two rows that the page lists with its interval."""

    claim: str
    """Text of the claim, e.g. "evidence weights over shuffled ones"."""
    row: str
    """Label of the row that is claimed to be better."""
    over: str
    """Label of the row it is compared with."""


@dataclass(frozen=True)
class Evaluation:
    """The kept runs of a row, evaluated again."""

    label: str
    """Name in the tables."""
    row: str
    """Label of the row."""
    data: str | None = None
    """Pairs: a NAME of --data that is not among `domains`, or a source. Default the test split of each domain."""
    image_size: int | None = None
    """Image size in pixels of a row without training; default the grid's."""
    inference: Inference = field(default_factory=Inference)
    """Options of `crosscue evaluate`: the inference mode, minimal pairs, centring."""


@dataclass(frozen=True)
class Published:
    """Numbers of a paper for one backbone, printed beside the measured ones."""

    backbone: str
    """The backbone they belong to; with another one nothing is printed or checked."""
    recalls: dict[str, dict[str, tuple[float | None, ...]]] = field(default_factory=dict)
    """Domain -> label -> R@1, R@5, R@10 of image to text, then of text to image, in percent; null where none is published.
    A label that no row has is printed alone."""
    check: list[str] = field(default_factory=list)
    """Domains whose rows without training are measured first. The bench stops if their R@1 is off by more than `within`."""
    within: float = 1.0
    """Largest difference of such a row from the published R@1, in points."""


@dataclass(frozen=True)
class Grid:
    """Rows x domains x shots x seeds, and what all of them share."""

    title: str = "Retrieval after adaptation"
    """Heading of the table."""
    protocol: Literal["reduced", "full"] = "reduced"
    """full: as published. reduced: smaller in any way; such numbers are never set beside published ones."""
    methods: list[str] = field(default_factory=list)
    """One row for each of these methods. With `rows`: only the rows of these methods."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Method -> its options, for the rows that `methods` makes."""
    rows: list[Row] = field(default_factory=list)
    """The lines of the table."""
    domains: list[str] = field(default_factory=list)
    """FDRD's names of the domains to read from the one folder that --data names. Empty: every source is a domain."""
    shots: list[Shots] = field(default_factory=lambda: [16])
    """Training pairs of each category; "all" takes the whole training split."""
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    """One run each: few-shot draw, initial values and order of the pairs."""
    validation: float | bool | None = None
    """Share of the training pairs to hold out, or false for none; default the source's val split."""
    candidates: dict[str, list[Candidate]] = field(default_factory=dict)
    """Method (or `default`) -> the settings that validation chooses from, as many for every method. Empty: nothing is tuned."""
    negatives: NegativesConfig | None = None
    """Write this many negatives for training pairs that have categories and no negatives yet."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The loop, for all rows."""
    claims: list[Claim] = field(default_factory=list)
    """Differences between two rows, listed after the tables."""
    evaluate: list[Evaluation] = field(default_factory=list)
    """The runs of a row evaluated again: in another inference mode, on other pairs, at another image size."""
    published: list[Published] = field(default_factory=list)
    """Numbers of the paper, for each backbone."""
    deviations: list[str] = field(default_factory=list)
    """Known differences from the published protocol, listed on the page."""

    def published_for(self, backbone: str) -> Published:
        """Returns the published numbers of a backbone; none for one that the paper does not have."""
        return next((one for one in self.published if one.backbone == backbone), Published(backbone))

    def lines(self) -> list[Row]:
        """Returns the rows, combinations expanded.

        Raises:
            RunError: there is none, two have one label, a row changes the number of steps, shots or seeds make no sense, or a
                claim or an evaluation names no row.
            MethodError: there is no such method.
            OptionError: there is no such option, or its value is wrong.
        """
        for method in (*self.methods, *(name for name in self.candidates if name != "default")):
            method_class(method)
        for name, values in (("shots", self.shots), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise RunError(f"{name} is {values}: give at least one, and none twice, e.g. --{name} 1 2.")
        declared = self.rows or [Row(method, options=self.options.get(method, {})) for method in self.methods]
        chosen = [row for row in declared if not self.methods or row.method in self.methods]
        rows = [row for declared_row in chosen for row in declared_row.expanded()]
        if not rows:
            raise RunError(
                "no row to measure: name methods, e.g. --methods zero_shot dual_prompt, or give a grid with rows."
            )
        for row in rows:
            self._check(row)
        _require_distinct("two rows are called", [row.label for row in rows])
        self._check_references({row.label: row for one in declared for row in one.expanded()})
        return rows

    def _check_references(self, rows: dict[str, Row]) -> None:
        named = [("claims", c.claim, label) for c in self.claims for label in (c.row, c.over)]
        named += [("evaluate", again.label, again.row) for again in self.evaluate]
        for part, name, label in named:
            if label not in rows:
                raise RunError(f"{part}: '{name}' names a row '{label}'. The rows are: {', '.join(rows)}.")
        _require_distinct("claims: two entries are called", [claim.claim for claim in self.claims])
        _require_distinct("evaluate: two entries are called", [again.label for again in self.evaluate])
        for again in self.evaluate:
            if again.image_size is not None and not issubclass(method_class(rows[again.row].method), Untrained):
                raise RunError(
                    f"evaluate: '{again.label}': row '{again.row}' is trained, and a run is loaded at its own image size only. "
                    "Leave out image_size, or name a row without training."
                )
            _check_inference(f"evaluate: '{again.label}'", rows[again.row].method, again.inference)
        for one in self.published:
            for domain, label, values in ((d, label, v) for d, by in one.recalls.items() for label, v in by.items()):
                if len(values) != 6:
                    raise RunError(
                        f"published: {domain}, '{label}' has {len(values)} numbers. Give six: R@1, R@5, R@10 of image to text, "
                        "then of text to image; null where none is published."
                    )

    def _check(self, row: Row) -> None:
        method = method_class(row.method)
        _check_inference(f"row '{row.label}'", row.method, row.inference)
        for candidate in self.candidates_of(row.method):
            try:
                config_of(method, {**row.options, **candidate.options})
            except OptionError as error:
                raise OptionError(f"row '{row.label}': {error}") from error
            self.training_of(row, candidate, self.training.seed)

    def candidates_of(self, method: str) -> list[Candidate]:
        """Returns the candidates of a method: one empty candidate where nothing is tuned.

        Raises:
            RunError: the methods would be tuned with different budgets.
        """
        budgets = {name: len(settings) for name, settings in self.candidates.items()}
        if len(set(budgets.values())) > 1:
            raise RunError(f"candidates: every method gets the same number of settings to choose from, not {budgets}.")
        if not self.candidates or issubclass(method_class(method), Untrained):
            return [Candidate()]
        found = self.candidates.get(method, self.candidates.get("default"))
        if not found:
            raise RunError(f"candidates: none for '{method}', and there is no default. Add one of them.")
        return found

    def training_of(self, row: Row, candidate: Candidate, seed: int) -> TrainingConfig:
        """Returns the loop of one run.

        Raises:
            OptionError: an unknown training value, or one of a wrong type or outside the choices.
            RunError: a training value that changes the number of steps.
        """
        values = row.training | candidate.training
        for name in values:
            if name in SAME_FOR_ALL:
                raise RunError(
                    f"row '{row.label}': training.{name} is the same for all rows. Set it for the whole grid."
                )
        if self.training.seed != TrainingConfig.seed:
            raise RunError("training.seed has no effect in a grid: every run has one of the seeds. Use --seeds.")
        if self.training.patience is not None:
            raise RunError(
                "training.patience stops some runs earlier than others. Leave it out: all rows take equal steps."
            )
        whole = {**vars(self.training), **values, "seed": seed}
        return configured(TrainingConfig, whole, f"row '{row.label}': training")


def _require_distinct(complaint: str, names: list[str]) -> None:
    """Raises `RunError` with the first name that is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise RunError(f"{complaint} '{name}'. Give each a name of its own.")


def _check_inference(entry: str, method: str, inference: Inference) -> None:
    """Raises `MethodError`, with the name of an entry of the grid, if a method does not have what the options need."""
    try:
        inference.check(method_class(method))
    except MethodError as error:
        raise MethodError(f"{entry}: {error}") from error
