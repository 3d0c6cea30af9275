"""The export folder of a run, written in one step: graphs, tokenizer, record and card; see `crosscue.encoding.export_folder`."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.encoding.export_folder import RECORD, ExportRecord, is_export
from crosscue.encoding.onnx_encoder import OnnxEncoder
from crosscue.errors import MethodError, OptionError, RunError, suggestion
from crosscue.exporting.graphs import GivenTokens, graphs
from crosscue.exporting.parity import Parity, measured, require, sample
from crosscue.retrieval.bank import FILE, reading
from crosscue.retrieval.options import Inference
from crosscue.storage import atomic_folder, sha256_file, write_json, write_text
from crosscue.training.runs import fingerprint

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method

PRECISIONS = {"fp32": ("fp32",), "w8": ("w8",), "both": ("fp32", "w8")}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FILES = {"fp32": "model.onnx", "w8": "model.w8.onnx"}


def export_folder(
    method: Method[Any],
    run: Path | None,
    out: Path,
    pairs: Pairs,
    *,
    precision: str = "both",
    opset: int = 18,
) -> dict[str, Parity]:
    """Writes the export of a method and returns the agreement of each precision with torch.

    Args:
        method: the trained method, on the CPU in float32.
        run: its run folder, whose bank is copied.
        out: a new folder, or an export that is replaced.
        pairs: held-out pairs for the comparison.
        precision: fp32, w8 or both.
        opset: version of the operators.

    Raises:
        MethodError: the method has no graph from one text or image to one vector, or the graphs do not agree with it.
        RunError: `out` is another folder.
        OptionError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"there is no precision '{precision}'.{suggestion(precision, PRECISIONS)}")
    if out.exists() and not is_export(out) and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: this is no export, and it is not empty. Choose another --out.")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MethodError("an export needs onnx and onnxscript: pip install 'crosscue[export]'") from error
    assert method.backbone.precision.name == "fp32"
    chosen = PRECISIONS[precision]
    wanted = sample(method, pairs)
    with atomic_folder(out) as part:
        record = write_graphs(method, part, chosen, opset)
        if run is not None and (run / FILE).exists():
            shutil.copyfile(run / FILE, part / FILE)
        write_json(part / RECORD, record.to_dict())
        found = {}
        for name in chosen:
            found[name] = measured(wanted, OnnxEncoder(part, name, threads=1))
            require(found[name], name)
        write_text(part / "README.md", card(record, found, pairs))
        files = {path.relative_to(part).as_posix(): path for path in sorted(part.rglob("*")) if path.is_file()}
        hashes = {name: sha256_file(path) for name, path in files.items() if name != RECORD}
        parity = {name: each.to_dict() for name, each in found.items()}
        write_json(part / RECORD, replace(record, parity=parity, files=hashes).to_dict())
    return found


def write_graphs(method: Method[Any], part: Path, chosen: tuple[str, ...], opset: int) -> ExportRecord:
    """Writes the graphs, the tokenizer and the files that Immich reads; returns the record without parity and hashes."""
    from crosscue.exporting.onnx import image_plan, text_plan, write
    from crosscue.exporting.quantising import quantise

    backbone = method.backbone
    images, texts = part / "visual", part / "textual"
    with graphs(method) as (image_graph, text_graph):
        write(image_plan(image_graph), images / FILES["fp32"], opset)
        write(text_plan(text_graph), texts / FILES["fp32"], opset)
        given = text_graph.given
    if "w8" in chosen:
        for folder in (images, texts):
            quantise(folder / FILES["fp32"], folder / FILES["w8"])
    if "fp32" not in chosen:
        for folder in (images, texts):
            for file in folder.glob(f"{FILES['fp32']}*"):
                file.unlink()
    pixels = backbone.pixels
    preparation = {
        "size": pixels.size,
        "mode": "RGB",
        "mean": pixels.mean,
        "std": pixels.std,
        "interpolation": pixels.resample,
        "resize_mode": "shortest" if pixels.crop else "squash",
    }
    write_json(images / "preprocess_cfg.json", preparation)
    write_tokenizer(given, texts)
    config = {
        "embed_dim": backbone.embed_dim,
        "vision_cfg": {"image_size": pixels.size},
        "text_cfg": {"context_length": given.length},
    }
    write_json(part / "config.json", config)
    return ExportRecord(
        run=fingerprint(method),
        method=method.name,
        backbone=backbone.source,
        width=backbone.embed_dim,
        pixels=pixels,
        context_length=given.length,
        pad=given.own.pad,
        precisions=chosen,
        bank_reading=reading(Inference(rerank=False).of(method)),
    )


def write_tokenizer(given: GivenTokens, folder: Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    Raises:
        MethodError: the checkpoint's tokenizer has no form in the library `tokenizers`.
    """
    tokenizer = given.own.tokenizer
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        raise MethodError(
            f"method '{given.name}': the tokenizer of this backbone ({type(tokenizer).__name__}) has no fast form, so it "
            "cannot be exported. Use a checkpoint with a tokenizer.json."
        )
    written = with_special_tokens(inner, given.own.prefix, given.own.suffix)
    written.save(str(folder / "tokenizer.json"))
    pad = tokenizer.convert_ids_to_tokens(given.own.pad)
    write_json(folder / "tokenizer_config.json", {"pad_token": pad, "model_max_length": given.length})


def with_special_tokens(inner: Any, prefix: list[int], suffix: list[int]) -> Any:
    """Returns a copy of a tokenizer of the library `tokenizers` that adds the special tokens itself, and neither pads nor cuts.

    `transformers` may add them in Python instead.
    """
    from tokenizers import Tokenizer, processors  # words: ok

    copied = Tokenizer.from_str(inner.to_str())
    copied.no_padding()
    copied.no_truncation()
    plain = copied.encode("a", add_special_tokens=False).ids
    if copied.encode("a").ids != [*prefix, *plain, *suffix]:
        names = {token: copied.id_to_token(token) for token in (*prefix, *suffix)}
        around = [[names[token] for token in tokens] for tokens in (prefix, suffix)]
        copied.post_processor = processors.TemplateProcessing(  # words: ok
            single=[*around[0], "$A", *around[1]], special_tokens=[(name, token) for token, name in names.items()]
        )
    return copied


def card(record: ExportRecord, found: dict[str, Parity], pairs: Pairs) -> str:
    """Returns README.md of an export."""
    base = f"base_model: {record.backbone}\n" if HUB_ID.fullmatch(record.backbone) else ""
    agreement = "\n".join(f"- {line}" for name, each in found.items() for line in each.lines(name))
    return f"""---
library_name: crosscue
tags: [image-text-retrieval, onnx, immich]
{base}---

# {record.method} around {Path(record.backbone).name}, for ONNX Runtime

Two graphs from one input to a unit vector of width {record.width}.

- `visual/model.onnx`: `image` float32 (B, 3, {record.pixels.size}, {record.pixels.size}), normalised -> `vector` (B, {record.width}).
- `textual/model.onnx`: `text` int32 (B, N), N up to {record.context_length} -> `vector` (B, {record.width}).
- `model.w8.onnx`: the same graphs with weights of 8 bits, where they were exported.

Agreement with torch on pairs of {pairs.source}:

{agreement}

`crosscue index FOLDER --run THIS_FOLDER` and `crosscue search` need no torch for it.
The layout is that of a CLIP model of Immich; see docs/export.md of crosscue.
"""
