"""The state of a training run as its progress bar shows it: the loss, the last validation and the best."""

from __future__ import annotations

SMOOTHING = 0.9
"""Weight of the earlier steps in the loss that is shown."""


class Seen:
    """The loss, smoothed over steps, and the Rsum of the last and of the best validation."""

    def __init__(self, best: float | None = None) -> None:
        self.best = best
        self.loss: float | None = None
        self.last: tuple[float, int] | None = None

    def stepped(self, loss: float) -> None:
        """Takes the loss of a step."""
        self.loss = loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * loss

    def validated(self, rsum: float, epoch: int) -> None:
        """Takes the Rsum of a validation after `epoch` epochs."""
        self.last, self.best = (rsum, epoch), max(rsum, self.best if self.best is not None else rsum)

    def text(self) -> str:
        """Returns a text such as `loss 2.104, validation Rsum 285.5 (epoch 3), best 290.1`."""
        parts = [f"loss {self.loss:.3f}"] if self.loss is not None else []
        if self.last is not None:
            parts.append(f"validation Rsum {self.last[0]:.1f} (epoch {self.last[1]})")
        if self.best is not None:
            parts.append(f"best {self.best:.1f}")
        return ", ".join(parts)
