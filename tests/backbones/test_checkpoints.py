"""Checkpoints as people have them: other names of tensors, other files, and what must not be trusted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from crosscue.backbones.loading import load_backbone
from crosscue.data.pairs import ImageFile
from crosscue.errors import BackboneError
from tests import tiny
from tests.hub import COMMIT, serving
from tests.images import draw_noise


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.clip_folder(), tmp_path / "clip"))


@pytest.fixture
def siglip(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.siglip_folder(), tmp_path / "siglip"))


def rename(folder: Path, change: Callable[[str], str | None]) -> None:
    """Writes the weights again with other names; None drops a tensor."""
    tensors = load_file(folder / "model.safetensors")
    renamed = {new: tensor for name, tensor in tensors.items() if (new := change(name)) is not None}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def edit(path: Path, **changes: Any) -> None:
    """Changes entries of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "wrapped."])
def test_a_prefix_of_all_names_is_left_out_with_a_note(
    clip: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rename(clip, lambda name: prefix + name)
    assert load_backbone(str(clip)).checkpoint == load_backbone(str(tiny.clip_folder())).checkpoint
    assert f"without the prefix '{prefix}'" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_cover_the_model_is_refused_with_names(clip: Path) -> None:
    rename(clip, lambda name: None if "projection" in name else name)
    with pytest.raises(BackboneError, match=r"lacks tensors of CLIPModel: text_projection.weight, visual_projection.w"):
        load_backbone(str(clip))


def test_the_names_of_open_clip_are_recognised(clip: Path) -> None:
    rename(clip, lambda name: name.replace("vision_model.encoder.layers", "visual.transformer.resblocks"))
    with pytest.raises(BackboneError, match=r"the names of OpenCLIP.*--backbone laion/"):
        load_backbone(str(clip))
    (clip / "config.json").rename(clip / "open_clip_config.json")
    with pytest.raises(BackboneError, match=r"an open_clip_config.json.*--backbone laion/"):
        load_backbone(str(clip))


def test_a_tensor_of_another_shape_is_named(clip: Path) -> None:
    edit(clip / "config.json", projection_dim=7)
    with pytest.raises(
        BackboneError, match=r"tensor text_projection.weight has shape \(\d+, \d+\), and config.json needs \(7"
    ):
        load_backbone(str(clip))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named(clip: Path, name: str) -> None:
    (clip / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(BackboneError, match=f"{name}: this is a pointer of Git LFS"):
        load_backbone(str(clip))


def test_a_run_is_no_backbone(tmp_path: Path) -> None:
    (tmp_path / "backbone.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"this is a run, not a backbone. Evaluate it: crosscue evaluate"):
        load_backbone(str(tmp_path))


def test_a_tokenizer_that_fails_at_its_first_text_is_read_from_tokenizer_json(clip: Path) -> None:
    """Without its configuration, the class of CLIP takes an unknown token that is not in the vocabulary."""
    texts = ["a red thing", "0 blue"]
    expected = load_backbone(str(clip)).tokenize(texts).ids
    (clip / "tokenizer_config.json").unlink()
    assert (load_backbone(str(clip)).tokenize(texts).ids == expected).all()


@pytest.mark.parametrize(
    "changes", [{"rescale_factor": "x"}, {"rescale_factor": -1}, {"image_mean": [float("nan")] * 3}], ids=str
)
def test_settings_that_are_no_numbers_are_refused(clip: Path, changes: dict[str, Any]) -> None:
    edit(clip / "preprocessor_config.json", **changes)
    with pytest.raises(BackboneError, match=r"preprocessor_config.json: (rescale_factor|image_mean) is"):
        load_backbone(str(clip))


def test_numbers_that_are_not_finite_are_refused(clip: Path) -> None:
    tensors = load_file(clip / "model.safetensors")
    tensors["text_projection.weight"][0, 0] = float("nan")
    save_file(tensors, clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"text_projection.weight holds numbers that are not finite"):
        load_backbone(str(clip))


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.touched,)


def test_pickled_weights_are_read_as_tensors_alone(clip: Path, tmp_path: Path) -> None:
    tensors = load_file(clip / "model.safetensors")
    (clip / "model.safetensors").unlink()
    torch.save(tensors, clip / "pytorch_model.bin")
    assert load_backbone(str(clip)).checkpoint == load_backbone(str(tiny.clip_folder())).checkpoint
    torch.save({**tensors, "more": Payload(tmp_path / "touched")}, clip / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="its pickled weights hold more than tensors, which is not executed"):
        load_backbone(str(clip))
    assert not (tmp_path / "touched").exists()


def test_a_tokenizer_must_be_there_and_tell_words_apart(clip: Path) -> None:
    whole = json.loads((clip / "tokenizer.json").read_text())
    vocabulary = whole["model"]["vocab"]
    special = {word: index for word, index in vocabulary.items() if word in ("<pad>", "[UNK]", "<start>", "<end>")}
    edit(clip / "tokenizer.json", model={**whole["model"], "vocab": special})
    with pytest.raises(BackboneError, match=r"clip: the tokenizer does not tell words apart"):
        load_backbone(str(clip))
    edit(clip / "tokenizer.json", model={**whole["model"], "vocab": {**vocabulary, "strange": 4321}})
    with pytest.raises(BackboneError, match=r"ids up to 4,321, and the text tower 400 word embeddings"):
        load_backbone(str(clip))
    (clip / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match=r"clip: no tokenizer. It needs one of: tokenizer.json; vocab.json with"):
        load_backbone(str(clip))
    (clip / "spiece.model").write_bytes(b"nothing")
    edit(clip / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    with pytest.raises(BackboneError, match=r"pip install sentencepiece|cannot be loaded"):
        load_backbone(str(clip))


def test_a_tokenizer_without_an_end_token_is_refused(clip: Path) -> None:
    edit(clip / "tokenizer.json", post_processor=None)
    with pytest.raises(BackboneError, match="adds no end token"):
        load_backbone(str(clip))


def test_a_siglip_tokenizer_is_read_from_tokenizer_json(siglip: Path) -> None:
    edit(siglip / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    tokens = [load_backbone(str(folder)).tokenize(["a red thing"]).ids for folder in (siglip, tiny.siglip_folder())]
    assert torch.equal(*tokens)


def test_settings_in_the_file_of_the_whole_processor_are_read(clip: Path) -> None:  # words: ok
    settings = json.loads((clip / "preprocessor_config.json").read_text())
    (clip / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match=r"no preprocessor_config.json"):
        load_backbone(str(clip))
    (clip / "processor_config.json").write_text(json.dumps({"image_processor": settings}))  # words: ok
    assert load_backbone(str(clip)).pixels == load_backbone(str(tiny.clip_folder())).pixels


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"shortest_edge": 48}},
        {"do_center_crop": None},
        {"image_mean": None, "image_std": None},
        {"resample": 1},
        {"resample": 2, "size": 40, "crop_size": 32},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [70.0, 71.0, 72.0]},
        {"size": {"height": 32, "width": 32}},
        {
            "image_mean": None,
            "image_processor_type": "SiglipImageProcessor",
            "do_center_crop": None,
            "size": {"height": 32, "width": 32},
        },
    ],
)  # words: ok
def test_settings_are_obeyed_as_transformers_reads_them(clip: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    edit(clip / "preprocessor_config.json", **changes)
    classes = {"SiglipImageProcessor": SiglipImageProcessorPil}
    stock = classes.get(changes.get("image_processor_type"), CLIPImageProcessorPil).from_pretrained(clip)  # words: ok
    path = draw_noise(tmp_path / "noise.png", 1, 50, 70)
    backbone = load_backbone(str(clip), precision="fp32")
    ours = backbone.normalise(torch.from_numpy(backbone.pixels.read(ImageFile(path)))[None])[0]
    theirs = np.asarray(stock(Image.open(path))["pixel_values"][0])
    step = 2 / (255 * min(backbone.pixels.std))  # two steps of a byte
    assert np.abs(ours.numpy() - theirs).max() <= step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_resize": False}, "do_resize is false"),
        ({"crop_size": 48}, r"images become 48 px \(size 32\), and the image tower reads 32"),
        ({"size": {"shortest_edge": 24}}, r"images become 32 px \(size 24\)"),
        ({"size": {"longest_edge": 32}}, "size is .*must have shortest_edge"),
        ({"do_center_crop": False}, "size is .*must have height and width"),
        ({"resample": 9}, "resample is 9"),
        ({"image_std": [0.2, 0.2, 0.0]}, "image_std"),
        ({"image_mean": "none"}, "image_mean is 'none'"),
    ],
)
def test_settings_that_need_another_computation_are_refused(clip: Path, changes: dict[str, Any], message: str) -> None:
    edit(clip / "preprocessor_config.json", **changes)
    with pytest.raises(BackboneError, match=f"preprocessor_config.json: .*{message}"):
        load_backbone(str(clip))


def test_a_margin_grows_with_the_size_of_the_input(clip: Path) -> None:
    edit(clip / "preprocessor_config.json", size={"shortest_edge": 48})
    pixels = load_backbone(str(clip), image_size=64).pixels
    assert (pixels.size, pixels.short_side) == (64, 96)


def test_a_repository_with_pickled_weights_alone_is_fetched(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(clip / "model.safetensors")
    torch.save(tensors, clip / "pytorch_model.bin")
    with serving(clip, tmp_path / "first", monkeypatch) as requested:
        known = load_backbone("org/tiny").checkpoint
        assert not any(path.endswith(".bin") for path in requested)  # safetensors are enough
    (clip / "model.safetensors").unlink()
    (clip / "open_clip_pytorch_model.bin").write_bytes(b"the same once more")
    with serving(clip, tmp_path / "second", monkeypatch) as requested:
        backbone = load_backbone("org/tiny")
        assert (backbone.checkpoint, backbone.revision) == (known, COMMIT)
        assert not any("open_clip" in path for path in requested)
        with pytest.raises(BackboneError, match="the Hub has no model of that name"):
            load_backbone("org/other")


def test_a_mistyped_path_is_no_id_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "models", tmp_path / "cache", monkeypatch) as requested:
        with pytest.raises(BackboneError, match="there is no folder 'models/clip', and 'models' is one"):
            load_backbone("models/clip")
        assert not requested


@pytest.mark.parametrize("line", ["import pickle", "import torch\n\ntorch.load('x')", "from torch import save"])
def test_the_linter_forbids_pickles_in_the_package(line: str) -> None:
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "src/crosscue/new.py",
        "-",
    ]
    done = subprocess.run(command, input=f"{line}\n", capture_output=True, text=True, cwd=root)
    assert "TID251" in done.stdout, done.stderr
