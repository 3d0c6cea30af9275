"""The choice among trials, and its record: selection.json and the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crosscue.markdown import markdown_table
from crosscue.selection.candidates import Candidate
from crosscue.selection.trials import Trial

FILE = "selection.json"


@dataclass(frozen=True)
class Verdict:
    """The trials of a search and the one that is chosen."""

    trials: list[Trial]
    """All trials; the first is the untouched model."""
    chosen: Trial
    best: Trial
    """The highest Rsum."""
    cheaper: Trial | None
    """The best trial of a cheaper method, within one standard error of the chosen one."""
    left_out: dict[str, str]
    """Methods and candidates that were not tried, with the reasons."""
    budget: str
    validated_on: str
    normalised: dict[str, float]
    """Rsum with scores normalised by a bank of training queries, of the untouched model and of the best choice among plain
    scores."""

    @property
    def gained(self) -> bool:
        """False if the untouched model is chosen."""
        return self.chosen is not self.trials[0]

    def conclusion(self) -> str:
        """Returns the result in words."""
        untouched = self.trials[0]
        gain, error = self.chosen.over(untouched)
        if self.chosen.normalised:
            trained = [f"{self.best.name} {self.best.rsum:.1f}"] if self.best is not untouched else []
            trained += [
                f"{name}, normalised, {rsum:.1f}" for name, rsum in self.normalised.items() if name != "untouched"
            ]
            beside = f"Beside it: {'; '.join(trained)}. " if trained else ""
            return (
                f"Chosen: the untouched model with normalised scores. Validation Rsum {self.chosen.rsum:.1f}, {gain:+.1f} over its "
                f"plain scores (standard error {error:.1f}). {beside}"
                "The run folder holds zero_shot and a bank of training queries: crosscue evaluate RUN --data SOURCE --normalise bank"
            )
        if not self.gained:
            ahead, error = self.best.over(untouched)
            best = (
                f" The best was {self.best.name}: {ahead:+.1f} Rsum, standard error {error:.1f}."
                if self.best is not untouched
                else ""
            )
            return f"Nothing beats the untouched model on validation.{best} The run folder holds zero_shot: the model as it was."
        text = (
            f"Chosen: {self.chosen.name}, {self.chosen.steps:,} steps. Validation Rsum {self.chosen.rsum:.1f}, {gain:+.1f} over the "
            f"untouched model (standard error {error:.1f})."
        )
        if self.best.rsum > self.chosen.rsum:
            ahead, error = self.best.over(untouched)
            text += (
                f" {self.best.name} has a higher Rsum, {self.best.rsum:.1f}, but is ahead of the untouched model by {ahead:.1f}, "
                f"which is within its standard error of {error:.1f}."
            )
        if self.cheaper is not None:
            ahead, error = self.chosen.over(self.cheaper)
            text += (
                f" The cheaper {self.cheaper.name}, {self.cheaper.steps:,} steps, cannot be told from it: {ahead:.1f} behind, "
                f"standard error {error:.1f}."
            )
        return text

    def to_dict(self, seconds: float) -> dict[str, Any]:
        """Returns the content of selection.json, with a row for each trial; `seconds` is the time of the whole search."""
        rows = []
        for index, trial in enumerate(self.trials):
            gain, error = trial.over(self.trials[0])
            row = {"trial": index, "method": trial.method, "lr": trial.lr, "steps": trial.steps}
            row |= {
                "seconds": round(trial.seconds, 1),
                "rsum": trial.rsum,
                "over_untouched": gain,
                "standard_error": error,
                "normalised": trial.normalised,
                "cut_off": trial.cut is not None,
            }
            rows.append(row | {"chosen": trial is self.chosen, "metrics": trial.metrics})
        return {
            "chosen_by": "auto",
            "conclusion": self.conclusion(),
            "cheaper": self.cheaper.name if self.cheaper is not None else None,
            "validated_on": self.validated_on,
            "budget": self.budget,
            "seconds": round(seconds, 1),
            "trials": rows,
            "normalised": self.normalised,
            "inference": {"normalise": "bank"} if self.chosen.normalised else {},
            "left_out": self.left_out,
        }


def chosen(trials: list[Trial], methods: list[str]) -> Trial:
    """Returns the trial with the highest Rsum of those that are ahead of the untouched model by more than one standard error.

    Without such a trial it is the untouched model. Of equal trials it is the one of the cheapest method. The standard error is
    that of the difference of Rsum to the untouched model, paired over the validation images.

    Args:
        trials: the first is the untouched model.
        methods: names of the methods, the cheapest first.
    """
    ahead = ahead_of_untouched(trials)
    return min(ahead, key=lambda trial: (-trial.rsum, methods.index(trial.method)), default=trials[0])


def ahead_of_untouched(trials: list[Trial]) -> list[Trial]:
    """Returns the trials that are ahead of the untouched model, the first one, by more than one standard error."""
    untouched, *trained = trials
    return [trial for trial in trained if not within_one_error(trial, untouched)]


def cheaper(trials: list[Trial], winner: Trial, methods: list[str]) -> Trial | None:
    """Returns the best trial of the cheapest method within one standard error of the winner.

    None if that is the winner's own method, or if the winner is the untouched model.
    """
    if winner.lr is None:
        return None
    near = [trial for trial in ahead_of_untouched(trials) if trial is winner or within_one_error(winner, trial)]
    found = min(near, key=lambda trial: (methods.index(trial.method), -trial.rsum))
    return found if found.method != winner.method else None


def normalised_floor(winner: Trial, floor: Trial, rival: Trial | None) -> Trial:
    """Returns the untouched model with normalised scores if it is ahead of the winner, else the winner.

    Ahead means more than one standard error. A trained winner stays if its own normalised scores are ahead of that model's.

    Args:
        winner: the choice among plain scores.
        floor: the untouched model with normalised scores.
        rival: the winner with normalised scores; None for the untouched model, and after folds.
    """
    if within_one_error(floor, winner):
        return winner
    return winner if rival is not None and not within_one_error(rival, floor) else floor


def methods_of(candidates: list[Candidate]) -> list[str]:
    """Returns the distinct methods of candidates, in their order."""
    return list(dict.fromkeys(candidate.method for candidate in candidates))


def table(record: dict[str, Any]) -> str:
    """Returns the table of a search from the content of selection.json."""
    rows = []
    for row in record["trials"]:
        metrics = row["metrics"]
        name = row["method"] if row["lr"] is None else f"{row['method']}, lr {row['lr']:g}"
        name += ", normalised" if row["normalised"] else ""
        recalls = [f"{metrics[f'{direction}_r1']:.1f}" for direction in ("i2t", "t2i")]
        gain = f"{row['over_untouched']:+.1f} ± {row['standard_error']:.1f}" if row["trial"] else ""
        steps = f"{row['steps']:,}" + (", cut off" if row.get("cut_off") else "")
        numbers = [steps, f"{row['seconds']:,.0f} s", *recalls, f"{row['rsum']:.1f}", gain]
        rows.append([str(row["trial"]), name, *numbers, "chosen" if row["chosen"] else ""])
    heads = ["", "model", "steps", "cost", "i2t R@1", "t2i R@1", "Rsum", "over untouched", ""]
    left_out = [f"not tried: {name}: {reason}" for name, reason in record["left_out"].items()]
    normalised = ", ".join(f"{name} {value:.1f}" for name, value in record["normalised"].items())
    note = f"Rsum of {normalised} with scores normalised by training queries (crosscue evaluate RUN --normalise bank)"
    return "\n".join([f"On {record['validated_on']}:", "", markdown_table(heads, rows), "", note, *left_out])


def within_one_error(ahead: Trial, trial: Trial) -> bool:
    """Returns True if a trial is ahead of another by no more than the standard error of the difference, or if that is unknown."""
    difference, error = ahead.over(trial)
    return not difference > error
