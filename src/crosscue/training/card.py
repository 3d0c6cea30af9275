"""The model card of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from crosscue.methods.capabilities import LateInteraction
from crosscue.version import __version__

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.training.loop import Outcome


def against_untouched(outcome: Outcome) -> str:
    """Returns the validation of the untouched backbone beside that of the run, as a clause; empty without validation."""
    best, untouched = outcome.best_rsum, outcome.untouched_rsum
    if best is None or untouched is None:
        return ""
    verdict = "" if best > untouched else ", so the run is not better"
    return f"the untouched backbone has {untouched:.2f}{verdict}"


def model_card(method: Method[Any], config: dict[str, Any], data: dict[str, Any], outcome: Outcome) -> str:
    """Returns README.md of a run folder: the method, its training pairs and its use."""
    learned = sum(tensor.numel() for tensor in method.learned_state().values())
    best = (
        f"The learned tensors are those of epoch {outcome.best_epoch}, the best on validation (Rsum {outcome.best_rsum:.2f})."
        + (f" On the same pairs {beside}." if (beside := against_untouched(outcome)) else "")
        if outcome.best_rsum is not None
        else "There was no validation split: the learned tensors are those of the last step."
    )
    usage = (
        'run.evaluate("a source of pairs")  # it compares token by token, so an image has no single vector'
        if isinstance(method, LateInteraction)
        else 'run.encode_text(["a text"])\nrun.encode_image(["image.jpg"])'
    )
    trained = (
        f"Trained on {data['train']['images']:,} images (fingerprint `{data['train']['fingerprint'][:16]}`), "
        f"{outcome.steps:,} steps, {outcome.epochs} epochs, {outcome.seconds:,.0f} s; {outcome.ended}."
        if outcome.steps
        else "Not trained: this is the model as it was."
    )
    best = best if outcome.steps else "It has no learned tensors."
    val, folds = data["val"], data.get("folds")
    return f"""---
library_name: crosscue
tags: [image-text-retrieval, prompt-learning]
base_model: {config["backbone"]}
---

# {method.name} on {data["source"]}

{method.summary} {learned:,} trained parameters around the frozen backbone `{config["backbone"]}`.

- {trained}
- Validated on {f"{val['images']:,} images (fingerprint `{val['fingerprint'][:16]}`)" if val else f"{folds} folds of these images" if folds else "nothing"}.
- {best}
- Written by crosscue {__version__}.

```python
import crosscue

run = crosscue.load("this folder")
{usage}
```

`crosscue evaluate THIS_FOLDER --data SOURCE` evaluates it on held-out pairs and writes `report/`.

```yaml
{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```
"""
