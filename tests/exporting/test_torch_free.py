"""A virtual environment with `docs/torch_free.txt` and without torch: it encodes, and it stays small."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from crosscue.api import as_run
from crosscue.data.sources import read_pairs
from crosscue.encoding.query import embedded, parsed
from crosscue.exporting.layout import export_folder
from crosscue.opening import open_encoder
from tests import tiny
from tests.images import write_source
from tests.packages import install

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib, pkgutil, sys
import numpy as np
import crosscue.encoding, crosscue.search, crosscue.serving
from crosscue.cli import dispatch
from crosscue.encoding.query import embedded, parsed
from crosscue.opening import open_encoder

for package in (crosscue.encoding, crosscue.search, crosscue.serving):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
export, images, out = sys.argv[1:]
query = embedded(parsed(["2:a red thing", "+", f"{images}/0.jpg", "-", "dog"]), open_encoder(export))
np.save(f"{out}/vector.npy", query.vector)
assert dispatch(["index", images, "--run", export, "--collection", f"{out}/collection"]) == 0
assert dispatch(["search", "a red thing", "--collection", f"{out}/collection", "--paths", "--all", "--no-group"]) == 0
print(sorted({"torch", "transformers", "datasets", "accelerate"} & sys.modules.keys()))
"""


@pytest.mark.slow
@pytest.mark.network
def test_an_export_is_used_without_torch(tmp_path: Path) -> None:
    source = write_source(tmp_path / "images", train=0, val=0, test=4)
    method = as_run("zero_shot", str(tiny.dual_folder()), precision="fp32", device="cpu").method
    export_folder(method, None, tmp_path / "export", read_pairs(source), precision="w8")
    venv.create(tmp_path / "free")
    python = tmp_path / "free" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["-r", ROOT / "docs" / "torch_free.txt"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages = next((tmp_path / "free" / "lib").glob("python*/site-packages"))
    assert not (packages / "torch").exists()
    install(ROOT, packages)
    size = sum(path.stat().st_size for path in (tmp_path / "free").rglob("*") if path.is_file())
    assert size < 700e6, f"{size / 1e6:.0f} MB"
    arguments = [tmp_path / "export", source, tmp_path]
    done = subprocess.run([python, "-c", PROGRAM, *arguments], capture_output=True, text=True, env={})
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]", done.stderr
    assert {str(source / f"{number}.jpg") for number in range(4)} <= set(lines)

    wanted = embedded(
        parsed(["2:a red thing", "+", str(source / "0.jpg"), "-", "dog"]), open_encoder(tmp_path / "export")
    )
    np.testing.assert_allclose(np.load(tmp_path / "vector.npy"), wanted.vector, atol=1e-6)
