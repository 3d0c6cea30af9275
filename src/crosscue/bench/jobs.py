"""One job: a run folder named by its settings, with its results. An existing job is not run again.

config.yaml, adapter.safetensors, metrics.jsonl ...   as `crosscue adapt` writes them
training.json      optimiser steps, validation, learned parameters
result.json        retrieval on the test split with the ranks of every query; result-OPTIONS.json with other options of inference
evaluation-*.json  retrieval of an `evaluate:` entry of a grid
timing.json        seconds and memory: what differs from machine to machine
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from crosscue.api import adapt, as_run, load
from crosscue.backbones.protocol import Backbone
from crosscue.bench.domains import Domain
from crosscue.bench.grid import Shots
from crosscue.bench.memory import Gauge
from crosscue.data.pairs import Pairs
from crosscue.errors import RunError
from crosscue.evaluation.result import Retrieval
from crosscue.locks import locked
from crosscue.measurement import OWN, bank_of_run, normalised_result
from crosscue.methods.capabilities import Untrained
from crosscue.methods.registry import config_of, method_class
from crosscue.retrieval.options import Inference
from crosscue.run import Run
from crosscue.storage import read_json, write_json, writing
from crosscue.training.config import TrainingConfig
from crosscue.training.optimisers import select_trainable


@dataclass(frozen=True)
class Towers:
    """The backbone of a grid, as given by the user."""

    backbone: str
    image_size: int | None
    precision: str


@dataclass(frozen=True)
class Training:
    """Record of training, as far as it is the same on every machine."""

    steps: int
    """Optimiser steps."""
    epochs: int
    learned: int
    """Number of trainable parameters."""
    validation: float | None
    """Best validation Rsum; None without validation."""
    best_epoch: int | None


@dataclass(frozen=True)
class Timing:
    """Time and memory of a job."""

    training_seconds: float = 0.0
    measuring_seconds: float = 0.0
    peak_memory_mb: float | None = None
    """Largest memory of the device, or of the process where it computes on the CPU; None where the system does not report it."""


@dataclass(frozen=True)
class Job:
    """A method on a domain with a number of shots and a seed."""

    method: str
    options: dict[str, Any]
    training: TrainingConfig
    domain: Domain
    shots: Shots
    validation: float | bool | None
    towers: Towers
    root: Path
    """Folder of all jobs."""

    @property
    def trains(self) -> bool:
        """False for a method without trainable parameters."""
        return not issubclass(method_class(self.method), Untrained)

    @cached_property
    def folder(self) -> Path:
        """Folder of the job, named by the hash of its resolved settings."""
        settings: dict[str, Any] = {
            "method": self.method,
            "options": asdict(config_of(method_class(self.method), self.options)),
            "towers": asdict(self.towers),
        }
        words = [self.domain.name, self.method]
        if self.trains:
            settings |= {
                "training": self.training.recorded(),
                "shots": self.shots,
                "validation": self.validation,
                "learned_from": self.domain.learned_from,
            }
            words += [f"{self.shots}shots", f"seed{self.training.seed}"]
        else:
            settings |= {"measured_on": self.domain.measured_on}
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        return self.root / "-".join([*words, name])

    def trained(self) -> Training | None:
        """Returns the record of training, or None where it has not ended."""
        content = _read(self.folder / "training.json")
        return Training(**content) if content is not None else None

    def timing(self) -> Timing:
        """Returns time and memory of the job so far."""
        return Timing(**(_read(self.folder / "timing.json") or {}))

    def result(self, inference: Inference) -> Retrieval | None:
        """Returns the result, or None where there is none on these test pairs."""
        content = _read(self._result_file(inference))
        if content is None or content["protocol"]["data_fingerprint"] != self.domain.measured_on:
            return None
        return Retrieval.from_dict(content)

    def train(self, backbone: Backbone) -> Training:
        """Trains, or goes on with interrupted training; returns at once where it has ended. Sees no test pair.

        Where another process trains the job, it waits for that one.

        Raises:
            CrosscueError: the run cannot be made; the message contains the reason.
            KeyboardInterrupt: the user stopped it; it can be continued.
        """
        done = self.trained()
        if done is not None:
            return done
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        waiting = f"{self.folder.name}: another process trains this job; this one waits for it"
        with locked(self.folder / ".training", waiting):
            return self.trained() or self._train(backbone)

    def _train(self, backbone: Backbone) -> Training:
        with Gauge(backbone.device) as gauge:
            run = adapt(
                self.domain.learn,
                self.method,
                backbone,
                out=self.folder,
                options=self.options,
                training=self.training,
                shots=None if self.shots == "all" else self.shots,
                validation=self.validation,
                precision=self.towers.precision,
                resume=True,
            )
        outcome = run.outcome
        assert outcome is not None
        if outcome.ended == "interrupted":
            raise KeyboardInterrupt
        learned = sum(parameter.numel() for _, parameter in select_trainable(run.method))
        done = Training(outcome.steps, outcome.epochs, learned, outcome.best_rsum, outcome.best_epoch)
        self._note(Timing(outcome.seconds, 0.0, gauge.peak_mb))
        write_json(self.folder / "training.json", asdict(done))
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)  # only needed to go on with training
        return done

    def measure(self, backbone: Backbone, inference: Inference) -> Retrieval:
        """Evaluates the run on the test split, unless that was done; trains it first where needed.

        Raises:
            CrosscueError: it cannot be trained or measured; the message contains the reason.
        """
        if self.trains:
            self.train(backbone)
        found = self.result(inference)
        if found is not None:
            if found.protocol["backbone_checkpoint"] != backbone.checkpoint:
                raise RunError(
                    f"{self.folder}: measured with other weights of '{self.towers.backbone}'. Use the old weights, or a new --out."
                )
            return found
        run, train = self._run(backbone), self.domain.bank
        plain, bank = inference.normalise == "none", replace(inference, normalise="bank")
        with Gauge(backbone.device) as gauge:
            result = run.evaluate(self.domain.test, inference, self._bank(run, inference))
        normalised = normalised_result(run.method, run.folder, OWN, result, train) if plain else None
        if plain and "re-ranking" in result.protocol and not inference.centre:  # other candidates are read
            normalised = run.evaluate(self.domain.test, bank, self._bank(run, bank))
        if normalised is not None:
            normalised.save(self._result_file(bank))
        before = self.timing()
        self._note(
            Timing(
                before.training_seconds,
                before.measuring_seconds + gauge.seconds,
                max(filter(None, (before.peak_memory_mb, gauge.peak_mb)), default=None),
            )
        )
        result.save(self._result_file(inference))
        return result

    def evaluate(self, backbone: Backbone, pairs: Pairs, inference: Inference) -> Retrieval:
        """Evaluates the trained run on other pairs, or in another way, unless that was done.

        Raises:
            CrosscueError: it cannot be evaluated; the message contains the reason.
        """
        towers = (backbone.checkpoint, backbone.pixels.size)
        settings = json.dumps([asdict(inference), pairs.fingerprint(), *towers], sort_keys=True)
        file = self.folder / f"evaluation-{hashlib.sha256(settings.encode()).hexdigest()[:12]}.json"
        content = _read(file)
        if content is not None:
            return Retrieval.from_dict(content)
        run = self._run(backbone)
        result = run.evaluate(pairs, inference, self._bank(run, inference))
        result.save(file)
        return result

    def _bank(self, run: Run, inference: Inference) -> Pairs | None:
        """Returns the training pairs of a bank that these options need and the run folder lacks."""
        if inference.normalise == "none" or bank_of_run(run.method, run.folder, OWN, inference) is not None:
            return None
        return self.domain.bank

    def _run(self, backbone: Backbone) -> Run:
        return load(self.folder, backbone) if self.trains else as_run(self.method, backbone)

    def _result_file(self, inference: Inference) -> Path:
        changed = asdict(inference).items() - asdict(Inference()).items()
        words = ["result", *(re.sub(r"[^\w=.]+", "_", f"{name}={value}") for name, value in sorted(changed))]
        return self.folder / ("-".join(words) + ".json")

    def _note(self, timing: Timing) -> None:
        write_json(self.folder / "timing.json", asdict(timing))


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content: dict[str, Any] = read_json(path, RunError, "Remove the folder; the job is run again.")
    return content
