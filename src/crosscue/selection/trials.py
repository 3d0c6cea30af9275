"""Trials of a search in an Optuna study, so that a killed search goes on where it stopped."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosscue.errors import OptionError, RunError
from crosscue.methods.registry import METHODS
from crosscue.selection.candidates import Candidate

STUDY = "trials.db"
SCORES, FAILURE, PLAN, SPENT = "scores", "failure", "plan", "spent"


@dataclass(frozen=True)
class Trial:
    """A candidate trained for a number of steps, and its recall on the validation pairs."""

    method: str
    lr: float | None
    steps: int
    """Steps of one training; with folds there is one training a fold."""
    seconds: float
    """Time of all its trainings and validations."""
    rsum: float
    metrics: dict[str, float]
    scores: list[float] = field(repr=False)
    """(images,) share of each validation image in `rsum`: their mean is `rsum`."""
    number: int | None = None
    """Number of the trial in the study; None for a model without training."""
    best_epoch: int | None = None
    learned_from: int = 0
    """Images of one training: fewer than there are if its steps are less than an epoch."""
    training: dict[str, Any] = field(default_factory=dict, repr=False)
    """Options of its training."""
    normalised: bool = False
    """True: its scores are normalised by a bank of training queries."""
    cut: int | None = None
    """Epochs after which its training ended early, because the budget ended; None where it was trained to the end."""

    @property
    def name(self) -> str:
        """The trial's name in messages."""
        name = self.method if self.lr is None else f"{self.method} lr {self.lr:g}"
        return f"{name}, normalised" if self.normalised else name

    def over(self, other: Trial) -> tuple[float, float]:
        """Returns the difference of Rsum to another trial, and its standard error over the validation images, paired."""
        difference = np.array(self.scores) - np.array(other.scores)
        return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


def connected(path: Path) -> sqlite3.Connection:
    """Returns a connection to a database by its path, which a URL could not hold whatever its name."""
    return sqlite3.connect(path, check_same_thread=False)


class Study:
    """The trials of a search in a SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Opens the study in a folder, or starts it.

        Raises:
            OptionError: Optuna is not installed.
            RunError: the file is damaged.
        """
        try:
            import optuna
        except ImportError as error:
            raise OptionError(
                "method 'auto' keeps its trials with the optuna package: pip install optuna. "
                "Or name a method: crosscue adapt --method linear_probe --data SOURCE"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, path = optuna, (folder / STUDY).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._study = optuna.create_study(
                storage=optuna.storages.RDBStorage("sqlite:///" + STUDY, {"creator": lambda: connected(path)}),
                study_name="crosscue",
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # Optuna passes on what its database raises
            raise RunError(
                f"{path}: the trials cannot be read ({type(error).__name__}). Start anew with another --out."
            ) from error

    def opened(self, candidate: Candidate, rung: int, steps: int) -> int:
        """Returns the number of the trial of a candidate in a rung; it is new, or was begun earlier."""
        found = self._find(candidate, rung)
        if found is not None:
            return int(found.number)
        kinds, running = self._optuna.distributions, self._optuna.trial.TrialState.RUNNING
        distributions = {
            "method": kinds.CategoricalDistribution(list(METHODS)),
            "lr": kinds.FloatDistribution(0.0, 1e38),
            "rung": kinds.IntDistribution(0, 99),
            "steps": kinds.IntDistribution(1, 10**9),
        }
        wanted = self._parameters(candidate, rung) | {"steps": steps}
        self._study.add_trial(
            self._optuna.create_trial(state=running, params=wanted, distributions=distributions)
        )  # one write, so that a kill leaves a whole trial or none
        return int(self._find(candidate, rung).number)

    def ended(self, candidate: Candidate, rung: int) -> Trial | str | None:
        """Returns the trial of a candidate in a rung, or the reason of its failure; None if it has not ended."""
        found = self._find(candidate, rung)
        if found is None or not found.state.is_finished():
            return None
        if found.state == self._optuna.trial.TrialState.FAIL:
            return str(found.user_attrs[FAILURE])
        return Trial(**found.user_attrs[SCORES])

    @property
    def begun(self) -> bool:
        """True if the search has a plan or a trial."""
        return bool(self.noted(PLAN, {}) or self._study.trials)

    @property
    def successful(self) -> bool:
        """True if a trial has a result."""
        return any(SCORES in trial.user_attrs for trial in self._study.trials)

    def tell(self, number: int, trial: Trial) -> None:
        """Keeps the result of a trial."""
        self._attribute(number, SCORES, asdict(trial))
        self._study.tell(number, trial.rsum)

    def fail(self, number: int, reason: str) -> None:
        """Keeps the reason why a trial has no result."""
        self._attribute(number, FAILURE, reason)
        self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def note(self, name: str, value: Any) -> None:
        """Keeps a value of the search itself."""
        self._study.set_user_attr(name, value)

    def noted(self, name: str, default: Any) -> Any:
        """Returns a value of the search that `note` kept."""
        return self._study.user_attrs.get(name, default)

    def _attribute(self, number: int, name: str, value: Any) -> None:
        found = self._study.trials[number]
        self._optuna.trial.Trial(self._study, found._trial_id).set_user_attr(name, value)

    def _find(self, candidate: Candidate, rung: int) -> Any:
        wanted = self._parameters(candidate, rung).items()
        return next((trial for trial in self._study.trials if wanted <= trial.params.items()), None)

    @staticmethod
    def _parameters(candidate: Candidate, rung: int) -> dict[str, Any]:
        return {"method": candidate.method, "lr": candidate.lr, "rung": rung}
