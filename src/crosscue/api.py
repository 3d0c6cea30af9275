"""The verbs in Python: adapt, evaluate, load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosscue.backbones.loading import loaded
from crosscue.backbones.protocol import Backbone
from crosscue.configuration import configured
from crosscue.data.pairs import Pairs
from crosscue.data.sources import as_pairs
from crosscue.errors import OptionError, RunError, suggestion
from crosscue.evaluation.comparison import Comparison
from crosscue.evaluation.result import Retrieval
from crosscue.measurement import against_untouched
from crosscue.methods.capabilities import Untrained
from crosscue.methods.registry import build, config_of, method_class, method_names
from crosscue.retrieval.options import Inference
from crosscue.run import Run
from crosscue.selection.choosing import choose, refuse_mixed
from crosscue.selection.defaults import chosen_itself, named_method
from crosscue.selection.request import Request
from crosscue.selection.single import parts_of, train_single
from crosscue.training import runs
from crosscue.training.config import TrainingConfig
from crosscue.training.processes import Processes


def adapt(
    pairs: Pairs | str | Path,
    method: str | None = None,
    backbone: str | Backbone = "starter",
    *,
    budget: str | None = None,
    out: str | Path | None = None,
    options: Mapping[str, Any] | object | None = None,
    training: TrainingConfig | Mapping[str, Any] | None = None,
    shots: int | None = None,
    validation: float | bool | None = None,
    folds: int | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    device: str | None = None,
    resume: bool = False,
    record: Mapping[str, Any] | None = None,
    timeout: float = 120,
) -> Run:
    """Adapts a backbone to pairs and writes a run folder.

    Args:
        pairs: pairs, or a source `read_pairs` understands. The `train` split is learned from, `val` chooses the best
            epoch; a source without any splits is used whole.
        method: a name from `crosscue methods`; `auto` chooses one on validation. Default `auto`, or `dual_prompt` if
            `options` or `training` contain what `auto` chooses itself.
        budget: time for that choice, such as `90s`, `10m` (the default) or `2h`.
        backbone: `starter`, a Hub id, a local folder, or a loaded backbone.
        out: the run folder; default runs/<method>-<time>.
        options: the method's options.
        training: the loop's options, or a mapping of some of them.
        shots: few-shot: this many pairs of each category, drawn with the training seed.
        validation: a share of the training pairs to hold out; False trains without validation; None takes the `val`
            split, or a tenth of a source that has no splits at all.
        folds: number of parts that are each validated after training on the others; then all pairs are trained on, for
            the number of epochs that was best.
        image_size: another input size than the backbone's own; positions are interpolated.
        precision: auto, fp32 or bf16.
        device: where to compute; default the GPU where there is one.
        resume: continue the run in `out`.
        record: more of the configuration to write down, e.g. how the pairs were read.
        timeout: seconds that a process waits for another, if torchrun started several.

    Raises:
        CrosscueError: anything the user can put right; the message contains what, where and how.
    """
    if type(resume) is not bool or not isinstance(out, str | Path | None):
        raise OptionError(f"resume is {resume!r} and out is {out!r}; they must be true or false, and a path or null.")
    processes, training = Processes.found(timeout), configured(TrainingConfig, training, "training")
    processes.require_rows(training.batch_size)
    method = named_method(method, searched=budget is not None or not (options or chosen_itself(training)))
    folder = Path(processes.everywhere(str(out or runs.new_folder(method)), "the run folder")[0])
    if refuse_mixed(method, budget, options, folds):
        processes.refuse("method auto", ", or name a method")
        tower = loaded(backbone, image_size, precision, device)
        request = Request(as_pairs(pairs), tower, folder, training, budget, shots, validation, precision, record)
        return Run(*choose(request, resume=resume))
    config, source = config_of(method_class(method), options), as_pairs(pairs)
    parts = parts_of(source, shots, validation, folds, training)
    if folds:
        processes.refuse("--folds")
    tower = processes.first(lambda: loaded(backbone, image_size, precision, device))
    request = Request(source, tower, folder, training, None, shots, validation, precision, record)
    return Run(*train_single(request, method, config, *parts, folds, processes, resume=resume))


def load(
    folder: str | Path,
    backbone: str | Path | Backbone | None = None,
    *,
    precision: str = "auto",
    device: str | None = None,
) -> Run:
    """Loads a run folder. `backbone` is its backbone or the present place of it; default the source in the run folder.

    Raises:
        RunError: not a run folder, unfinished, damaged, or made with other backbone weights.
    """
    path = runs.run_path(folder)
    runs.configured_method(path)
    if not isinstance(backbone, Backbone):
        backbone = runs.load_own_backbone(path, backbone, precision=precision, device=device)
    return Run(runs.load_method(path, backbone), path)


def evaluate(
    run_or_method: str | Path | Run,
    pairs: Pairs | str | Path,
    backbone: str | Path | Backbone | None = None,
    *,
    image_size: int | None = None,
    precision: str = "auto",
    device: str | None = None,
    inference: Inference | Mapping[str, Any] | None = None,
    bank: Pairs | str | Path | None = None,
) -> Retrieval:
    """Measures a run folder, or a method that needs no training (`zero_shot`), on held-out pairs."""
    run = as_run(run_or_method, backbone, image_size=image_size, precision=precision, device=device)
    return run.evaluate(pairs, inference, bank)


def as_run(
    run_or_method: str | Path | Run,
    backbone: str | Path | Backbone | None = None,
    *,
    image_size: int | None = None,
    precision: str = "auto",
    device: str | None = None,
) -> Run:
    """Returns a run: loaded from its folder, or the untrained method of that name.

    Without `backbone`: the one that the run folder names, or `starter` for a method.

    Raises:
        RunError: neither a run folder nor a method that works untrained; or a run folder of another image size.
    """
    if isinstance(run_or_method, Run):
        return run_or_method
    if runs.run_path(run_or_method).is_dir():
        size = runs.read_backbone(Path(run_or_method)).image_size if image_size is not None else None
        if size != image_size:
            raise RunError(
                f"{run_or_method}: trained with image_size {size}, not {image_size}. Leave --image_size out."
            )
        return load(run_or_method, backbone, precision=precision, device=device)
    if str(run_or_method) not in method_names():
        raise RunError(
            f"'{run_or_method}' is neither a run folder nor a method. Give the FOLDER of `crosscue adapt --data SOURCE --out FOLDER`, "
            f"or a method.{suggestion(str(run_or_method), method_names())}"
        )
    tower = loaded(backbone or "starter", image_size, precision, device)
    method = build(str(run_or_method), tower)
    if not isinstance(method, Untrained):
        raise RunError(
            f"method '{method.name}' has to be trained first: crosscue adapt --method {method.name} --data SOURCE"
        )
    return Run(method.eval())


def before_and_after(
    run: Run,
    pairs: Pairs,
    inference: Inference | Mapping[str, Any] | None = None,
    *,
    bank: Pairs | None = None,
    see_pairing: bool = False,
) -> Comparison:
    """Evaluates the untouched backbone of a run and the run itself on the same pairs, and compares them query by query.

    Args:
        run: the run.
        pairs: held-out pairs.
        inference: options of inference; default those of the method.
        bank: training pairs for `inference.normalise`; default the bank of the run folder.
        see_pairing: evaluate the run by the diagnostic `oracle`; the result is stamped NOT COMPARABLE.
    """
    choices = configured(Inference, inference, "inference")
    return against_untouched(run.method, run.folder, pairs, choices, bank=bank, see_pairing=see_pairing)
