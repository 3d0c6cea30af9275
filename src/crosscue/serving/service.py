"""The models of a server, opened in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crosscue.encoding.encoder import Encoder
from crosscue.errors import CrosscueError, suggestion
from crosscue.serving.failures import Refusal
from crosscue.serving.metrics import Metrics
from crosscue.serving.towers import Towers

log = logging.getLogger("crosscue.serving")

Opener = Callable[[], Encoder]


@dataclass
class Model:
    """A model under its name: opened, still loading, or failed."""

    open: Opener
    towers: Towers | None = None
    failure: str | None = None
    run: str | None = None
    """Hash of the run that a space asked for after the start."""


@dataclass
class Service:
    """The models of a server."""

    openers: Mapping[str, Opener]
    """Name -> function that loads the encoder. The first one answers requests that name no model."""
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.models = {name: Model(open) for name, open in self.openers.items()}
        self._stopped, self._lock, self._ready = threading.Event(), threading.Lock(), False
        self._loading: threading.Thread | None = None

    def start(self) -> None:
        """Begins to load the models, one after the other, in a thread."""
        self._loading = threading.Thread(target=self._load, daemon=True)
        self._loading.start()

    def stop(self) -> None:
        """Waits for the model that loads now, then answers what waits and ends the threads of all towers."""
        self._stopped.set()
        if self._loading is not None:
            self._loading.join()
        for model in self.models.values():
            if model.towers is not None:
                model.towers.close()

    @property
    def ready(self) -> bool:
        """True from when every model of the start is loaded or has failed, and one can answer. A further model changes nothing."""
        states = self.models.values()
        self._ready = self._ready or (
            all(model.towers or model.failure for model in states) and any(model.towers for model in states)
        )
        return self._ready

    def take_up(self, name: str, run: str, open: Opener) -> None:
        """Begins to load the model of a space that was added, or made anew by another run, since the start.

        It does nothing where the model of this run is there, or is being loaded, or cannot be loaded.
        """
        with self._lock:
            old = self.models.get(name)
            if old is not None and (run == old.run or old.towers is None or old.towers.identity.run == run):
                return
            model = Model(open, run=run)
            self.models = self.models | {name: model}
        log.info("model '%s' is loaded: its space is new", name)

        def load() -> None:
            self._open(name, model)
            if old is not None and old.towers is not None:
                old.towers.close()

        threading.Thread(target=load, daemon=True).start()

    def towers(self, name: str | None) -> Towers:
        """Returns the model of a name.

        Raises:
            Refusal: there is no such model (404), it is still loading (503), or it cannot be loaded (503).
        """
        chosen = name or next(iter(self.models))
        model = self.models.get(chosen)
        if model is None:
            raise Refusal(
                404,
                f"there is no model '{chosen}'.{suggestion(chosen, self.models)}",
                code="unknown_model",
                param="model",
            )
        if model.towers is None:
            if model.failure:
                raise Refusal(503, f"the model '{chosen}' could not be loaded. The log says why.", code="model_failed")
            message = "the model is still loading. Try again in a moment."
            raise Refusal(503, message, code="loading", headers={"Retry-After": "2"})
        return model.towers

    def _load(self) -> None:
        for name, model in self.models.items():
            if self._stopped.is_set():
                return
            self._open(name, model)

    def _open(self, name: str, model: Model) -> None:
        try:
            model.towers = Towers(model.open(), self.metrics)
            log.info("model '%s' is ready", name)
        except CrosscueError as error:
            model.failure = str(error)
            log.error("model '%s': %s", name, error)
        except Exception as error:
            model.failure = str(error)
            log.error("model '%s' cannot be loaded", name, exc_info=error)
