"""Encoders from a run folder, an untrained method or an export: the one place where both runtimes meet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.encoding.onnx_encoder import OnnxEncoder, is_export
from crosscue.errors import OptionError, RunError, suggestion

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder, Identity
    from crosscue.run import Run

RUNTIMES = ("auto", "torch", "onnx")


def open_encoder(
    source: str | Path | Run,
    *,
    runtime: str = "auto",
    backbone: str | Path | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> Encoder:
    """Returns the encoder of an export folder, a run folder, a loaded run, or an untrained method such as `zero_shot`.

    An export needs no torch, and none is imported for it.

    Args:
        source: the export folder, the run folder, the run, or the name of the method.
        runtime: `onnx` for exports, `torch` for all others; `auto` takes the one that fits the source.
        backbone: default the one that the run folder names, or `starter` for a method.
        image_size: side of the input image, for a method without a run folder.
        precision: of an export fp32 or w8, of others fp32 or bf16; or auto.
        device: default the GPU if there is one.
        threads: most threads of an export; default all cores.

    Raises:
        RunError: no such folder or method, or one of the other runtime; see `crosscue.api.as_run`.
        MethodError: the method compares token by token, so it has no one vector an image.
    """
    if runtime not in RUNTIMES:
        raise OptionError(f"there is no runtime '{runtime}'.{suggestion(runtime, RUNTIMES)}")
    if isinstance(source, str | Path) and is_export(Path(source)):
        if runtime == "torch":
            raise RunError(f"{source}: an export runs on onnx alone. Leave --runtime out, or give the run folder.")
        return OnnxEncoder(Path(source), precision, threads)
    if runtime == "onnx":
        raise RunError(f"{source}: this is no export. Make one: crosscue export onnx {source} --out export")
    from crosscue.api import as_run
    from crosscue.opening.run_encoder import RunEncoder

    return RunEncoder(as_run(source, backbone, image_size=image_size, precision=precision, device=device))


def encoder_of(identity: Identity, **options: Any) -> Encoder:
    """Returns the encoder that an identity names, opened as it was: a method without a run folder on the same backbone.

    `options` are those of `open_encoder`; its errors are raised.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not Path(identity.source).exists():
        given = {"backbone": identity.backbone, "image_size": identity.image_size} | given
    return open_encoder(identity.source, **given)
