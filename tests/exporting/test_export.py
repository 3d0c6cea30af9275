"""An export folder: made by the command line, read without torch, in the layout that Immich reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from crosscue.api import adapt
from crosscue.data.pairs import ImageFile
from crosscue.data.sources import read_pairs
from crosscue.encoding.export_folder import ExportRecord, read_record
from crosscue.encoding.images import normalised
from crosscue.encoding.onnx_encoder import OnnxEncoder
from crosscue.errors import MethodError, OptionError, RunError
from crosscue.exporting import layout, parity
from crosscue.exporting.hub import pull, push
from crosscue.exporting.layout import export_folder, with_special_tokens
from crosscue.opening import open_encoder
from crosscue.run import Run
from tests import tiny
from tests.cli import refused, succeeds
from tests.images import draw_noise, write_source

TEXTS = ["a red thing", "two things on the photo", "blue " * 30, "x"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of dual prompts, and beside it its source."""
    root = tmp_path_factory.mktemp("exported")
    source, training = write_source(root / "images"), {"epochs": 1}
    return adapt(
        str(source), "dual_prompt", str(tiny.clip_folder()), out=root / "run", precision="fp32", training=training
    )


@pytest.fixture(scope="module")
def export(run: Run) -> Path:
    """The export of the run."""
    assert run.folder is not None
    out = run.folder.parent / "export"
    printed = succeeds("export", "onnx", run.folder, "--out", out)
    assert "fp32: least cosine with torch 1.000000 of 8 images" in printed
    assert "w8: change of R@1 in points" in printed
    return out


def test_an_export_gives_the_vectors_of_its_run(run: Run, export: Path, tmp_path: Path) -> None:
    ours, theirs = open_encoder(export), open_encoder(run)
    assert ours.identity.run == theirs.identity.run
    assert (ours.identity.runtime, ours.identity.precision) == ("onnx", "fp32")
    mine, wanted = ours.encode_texts(TEXTS), theirs.encode_texts(TEXTS)
    np.testing.assert_allclose(mine.vectors, wanted.vectors, atol=1e-5)
    np.testing.assert_array_equal(mine.truncated, wanted.truncated)
    assert mine.truncated.tolist() == [0, 0, 12, 0]
    paths = [draw_noise(tmp_path / f"{seed}.png", seed, 50, 70) for seed in range(3)]
    pixels = np.stack([ours.pixels.read(ImageFile(path)) for path in paths])
    np.testing.assert_allclose(ours.encode_images(pixels), run.encode_image(paths).numpy(), atol=1e-5)
    assert ours.encode_images(pixels[:0]).shape == (0, 32)
    assert ours.encode_texts([]).vectors.shape == (0, 32)
    assert ours.bank is not None
    assert theirs.bank is not None
    np.testing.assert_array_equal(ours.bank.vectors, theirs.bank.vectors)


def test_eight_bits_are_smaller_and_nearly_equal(export: Path) -> None:
    w8, fp32 = OnnxEncoder(export, "w8"), OnnxEncoder(export, "fp32")
    cosines = (w8.encode_texts(TEXTS).vectors * fp32.encode_texts(TEXTS).vectors).sum(1)
    assert 0.995 <= cosines.min() < 0.9999999
    nodes = [
        node for node in onnx.load(export / "textual" / "model.w8.onnx").graph.node if node.op_type == "MatMulNBits"
    ]
    given = {entry.name: onnx.helper.get_attribute_value(entry) for entry in nodes[0].attribute}
    assert (given["bits"], given["block_size"], given["accuracy_level"]) == (8, 64, 4)
    assert len(nodes) >= 12


def test_a_written_tokenizer_adds_the_special_tokens_itself(run: Run) -> None:
    own = run.method.backbone.tokenizer
    inner = Tokenizer.from_str(own.tokenizer.backend_tokenizer.to_str())
    wanted = inner.encode("a red thing").ids
    assert with_special_tokens(inner, own.prefix, own.suffix).encode("a red thing").ids == wanted
    record = json.loads(inner.to_str())
    bare = Tokenizer.from_str(json.dumps(record | {"post_processor": None}))
    bare.enable_padding(length=30)
    assert bare.encode("a red thing").ids[:5] != wanted
    assert with_special_tokens(bare, own.prefix, own.suffix).encode("a red thing").ids == wanted


def test_immich_reads_the_folder_as_its_own(run: Run, export: Path, tmp_path: Path) -> None:
    """The steps of Immich's machine learning service, in its order: files, names, padding to the context length."""
    config = json.loads((export / "config.json").read_text())
    length = config["text_cfg"]["context_length"]
    tokenizer = Tokenizer.from_file(str(export / "textual" / "tokenizer.json"))
    pad = json.loads((export / "textual" / "tokenizer_config.json").read_text())["pad_token"]
    tokenizer.enable_padding(length=length, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    tokenizer.enable_truncation(max_length=length)
    session = onnxruntime.InferenceSession(str(export / "textual" / "model.onnx"))
    for text in TEXTS:
        ids = np.array([tokenizer.encode(" ".join(text.split())).ids], dtype=np.int32)
        assert ids.shape == (1, length)
        np.testing.assert_allclose(session.run(None, {"text": ids})[0], run.encode_text([text]).numpy(), atol=1e-5)

    prepared = json.loads((export / "visual" / "preprocess_cfg.json").read_text())
    size, mean, std = prepared["size"], np.float32(prepared["mean"]), np.float32(prepared["std"])
    assert (prepared["interpolation"], prepared["resize_mode"]) == ("bicubic", "shortest")
    path = draw_noise(tmp_path / "image.png", 1, 40, 64)
    opened = Image.open(path).convert("RGB")
    opened = opened.resize((int(opened.width / opened.height * size), size), Image.Resampling.BICUBIC)
    left = int(opened.width / 2 - size / 2)
    values = np.asarray(opened.crop((left, 0, left + size, size)), np.float32) / 255
    values = ((values - mean) / std).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(export / "visual" / "model.onnx"))
    assert [output.name for output in session.get_outputs()] == ["vector"]
    np.testing.assert_allclose(session.run(None, {"image": values})[0], run.encode_image([path]).numpy(), atol=1e-5)


def test_pixels_are_those_of_the_torch_pipeline(run: Run) -> None:
    spec = run.method.backbone.pixels
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, spec.size, spec.size), dtype=np.uint8)
    wanted = run.method.backbone.normalise(torch.from_numpy(pixels)).numpy()
    one_level = 1 / 255 / np.array(spec.std, np.float32)[:, None, None]
    assert (np.abs(normalised(pixels, spec) - wanted) < 1e-3 * one_level).all()


def test_threads_share_an_encoder_whose_towers_load_when_needed(export: Path) -> None:
    encoder = OnnxEncoder(export, threads=1)
    assert encoder._text._session is None
    found: list[Any] = [None] * 8

    def work(place: int) -> None:
        found[place] = encoder.encode_texts(TEXTS[place % 4 :]).vectors

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(8):
        np.testing.assert_allclose(found[place], encoder.encode_texts(TEXTS).vectors[place % 4 :], atol=1e-6)
    assert encoder._image._session is None


def test_an_export_explains_by_occlusion(export: Path) -> None:
    encoder = OnnxEncoder(export)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    found = encoder.explain(pixels, "a red thing")
    assert found.kind == "occlusion"
    assert found.places.shape == (4, 4)
    assert [word for word, _ in found.words] == ["a", "red", "thing"]
    text, image = encoder.encode_texts(["a red thing"]).vectors[0], encoder.encode_images(pixels[None])[0]
    assert found.score == pytest.approx(float(text @ image), abs=1e-6)
    assert encoder.rerank_modes == ()
    assert encoder.uncertainty(np.zeros(3, np.float32)) is None
    with pytest.raises(MethodError, match="no re-ranking 'pairs'"):
        encoder.rerank("pairs", "x", pixels[None], np.zeros(1, np.float32))


def test_opening_an_export_imports_no_torch(export: Path) -> None:
    code = (
        "import sys; from crosscue.opening import open_encoder; "
        f"print(open_encoder({str(export)!r}).encode_texts(['a red thing']).vectors.shape); "
        "print({'torch', 'transformers', 'datasets', 'accelerate'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["(1, 32)", "set()"], done.stderr


def test_the_runtime_and_precision_must_fit(run: Run, export: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="an export runs on onnx alone"):
        open_encoder(export, runtime="torch")
    with pytest.raises(RunError, match=f"Make one: crosscue export onnx {run.folder} --out export"):
        open_encoder(run.folder or "", runtime="onnx")
    with pytest.raises(OptionError, match="Did you mean 'onnx'"):
        open_encoder(export, runtime="onx")
    with pytest.raises(OptionError, match="no precision 'w4'"):
        OnnxEncoder(export, "w4")
    with pytest.raises(RunError, match="this is no export"):
        OnnxEncoder(tmp_path)


def test_a_damaged_export_is_refused(export: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(export, tmp_path / "copy")
    (copy / "textual" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(RunError, match=r"model\.onnx: cannot be loaded"):
        OnnxEncoder(copy).encode_texts(["x"])
    (copy / "textual" / "tokenizer.json").write_text("{}")
    with pytest.raises(RunError, match=r"tokenizer\.json: not a tokenizer"):
        OnnxEncoder(copy).encode_texts(["x"])
    record = json.loads((copy / "crosscue.json").read_text())
    (copy / "crosscue.json").write_text(json.dumps(record | {"format": 2}))
    with pytest.raises(RunError, match="in another format"):
        read_record(copy)
    (copy / "crosscue.json").write_text(json.dumps(record | {"width": 3, "unknown": 1}))
    with pytest.raises(RunError, match="not as written by crosscue"):
        read_record(copy)


def test_an_export_is_pushed_and_pulled(export: Path, tmp_path: Path) -> None:
    pulled = pull(push(export, str(tmp_path / "birds")), tmp_path / "export")
    assert read_record(pulled) == read_record(export)
    np.testing.assert_array_equal(
        open_encoder(pulled).encode_texts(TEXTS).vectors, open_encoder(export).encode_texts(TEXTS).vectors
    )


def test_weights_of_a_large_graph_stand_beside_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.exporting.onnx.LARGEST", 1)
    pairs = read_pairs(write_source(tmp_path / "few", train=0, val=0, test=4))
    export_folder(run.method, None, tmp_path / "export", pairs)
    files = {path.name for path in (tmp_path / "export" / "textual").glob("model*")}
    assert files == {"model.onnx", "model.onnx.data", "model.w8.onnx"}
    pulled = pull(push(tmp_path / "export", str(tmp_path / "birds")), tmp_path / "pulled")
    assert open_encoder(pulled).encode_texts(TEXTS).vectors.shape == (4, 32)


def test_graphs_that_do_not_agree_are_not_written(
    run: Run, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.folder is not None

    def written(method: object, part: Path, *_: object) -> ExportRecord:
        for folder in ("visual", "textual"):
            shutil.copytree(export / folder, part / folder)
        return read_record(export)

    monkeypatch.setattr(layout, "write_graphs", written)
    monkeypatch.setitem(parity.BOUNDS, "fp32", 1.1)
    line = refused("export", "onnx", run.folder, "--out", tmp_path / "export", "--precision", "fp32")
    assert "do not agree with torch: least cosine 1.0" in line
    assert not list(tmp_path.iterdir())


def test_an_export_needs_pairs_and_a_folder_of_its_own(run: Run, tmp_path: Path) -> None:
    assert run.folder is not None
    line = refused("export", "onnx", "zero_shot", "--out", tmp_path / "export", "--backbone", tiny.clip_folder())
    assert line.endswith("Name some: crosscue export onnx zero_shot --data SOURCE")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    line = refused("export", "onnx", run.folder, "--out", tmp_path / "mine")
    assert "this is no export, and it is not empty. Choose another --out." in line
    moved = shutil.copytree(run.folder, tmp_path / "moved")
    config = (moved / "config.yaml").read_text().replace(str(run.folder.parent / "images"), "/nowhere")
    (moved / "config.yaml").write_text(config)
    line = refused("export", "onnx", moved, "--out", tmp_path / "export")
    assert line.endswith(f"Name held-out pairs: crosscue export onnx {moved} --data SOURCE")


def test_parity_compares_64_pairs_and_shows_the_change_of_recall(run: Run, export: Path, tmp_path: Path) -> None:
    source = read_pairs(write_source(tmp_path / "many", train=0, val=0, test=70))
    chosen = parity.sample(run.method, source)
    assert len(chosen.texts) == len(chosen.image_vectors) == 64
    assert [chosen.pairs[place].image_id for place in (0, -1)] == [source[place].image_id for place in (0, -1)]
    other = replace(chosen, text_vectors=chosen.text_vectors.roll(1, 0))  # other texts: cosine and recall must show it
    found = parity.measured(other, OnnxEncoder(export))
    assert found.image > 0.99999 > found.text
    assert found.r1["t2i"].low <= found.r1["t2i"].mean <= found.r1["t2i"].high
    with pytest.raises(MethodError, match="Export with --precision fp32"):
        parity.require(found, "w8")
