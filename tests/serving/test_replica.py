"""One of several servers: it writes nothing but marks, and keeps nothing that the others lack."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosscue.errors import OptionError
from crosscue.search.collection import THUMBNAILS, open_collection
from crosscue.search.labels import labels_of
from crosscue.serving.keys import Keys, new_key
from crosscue.serving.options import ServeOptions
from crosscue.serving.security import COOKIE, Rules
from tests.serving.conftest import serving

SECRET = "a secret of thirty-two bytes or more"


@pytest.fixture
def boards(painted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(painted, tmp_path / "boards")


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns path -> size and time of change."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {str(path.relative_to(folder)): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def test_a_replica_writes_nothing_but_marks(boards: Path) -> None:
    thumbs = boards / ".crosscue" / THUMBNAILS
    shutil.rmtree(thumbs)
    before = files(boards)
    with serving(boards, replica=True) as asking:
        paths = asking.get("/openapi.json").json()["paths"]
        image = asking.post("/api/search", json={"query": "red"}).json()["hits"][0]["id"]
        bodies = {
            "/v1/embeddings": {"input": "red"},
            "/v1/rerank": {"query": "red", "documents": ["a red board", "a blue board"]},
            "/api/search": {"query": "red", "exact": True},
            "/api/likely": {"query": "red"},
            "/api/compare": {"query": "red", "spaces": ["base", "other"]},
            "/api/why": {"id": image, "text": "red"},
            "/api/labels/next": {"texts": ["red", "blue"]},
        }
        for path in [path for path, operations in paths.items() if "get" in operations] + ["/", "/?q=red", "/docs"]:
            query = {"before": "base", "after": "other"} if path.endswith("gain") else {}
            answer = asking.get(path.format(image=image, name="boards"), params=query)
            assert answer.status_code == 422 if query else answer.status_code == 200, path
        for path, body in bodies.items():
            assert asking.post(path, json=body).status_code == 200, path
        assert asking.post("/api/zip", data={"ids": image}).status_code == 200
        refused = asking.post("/api/collections/boards/refresh", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "replica")
        posts = {path for path, operations in paths.items() if "post" in operations}
        assert posts == {*bodies, "/api/zip", "/api/labels", "/api/collections/{name}/refresh"}
        assert files(boards) == before
        asking.post("/api/labels", json={"text": "red", "id": image, "relevant": True})
        marked = files(boards)
    changed = {name.split("/")[2] for name in marked if marked[name] != before.get(name)}
    assert changed == {"_labels.lance"} and before.keys() <= marked.keys()
    assert [label.text for label in labels_of(open_collection(boards))] == ["red"]


@pytest.fixture
def mounted(boards: Path) -> Iterator[Path]:
    """The same folder, mounted so that nothing can be written."""
    if os.geteuid() != 0:
        pytest.skip("mounting a folder needs root")
    place = boards.with_name("mounted")
    place.mkdir()
    if subprocess.run(["mount", "--bind", "-o", "ro", boards, place], capture_output=True).returncode:
        pytest.skip("this machine mounts no folder a second time")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_replica_searches_a_read_only_disk_and_refuses_marks(mounted: Path, boards: Path) -> None:
    with serving(mounted, replica=True) as asking:
        image = asking.post("/api/search", json={"query": "red"}).json()["hits"][0]["id"]
        mark = {"text": "red", "id": image, "relevant": True}
        refused = asking.post("/api/labels", json=mark)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "marks_not_kept")
        assert str(mounted) not in refused.text
        with serving(boards) as writer:
            assert writer.post("/api/labels", json=mark).status_code == 200
        assert asking.get("/api/labels").json()["labels"]
        refused = asking.request("DELETE", "/api/labels", json={"text": "red", "id": image})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "marks_not_kept")


def test_replicas_with_one_secret_take_each_others_cookies(boards: Path, tmp_path: Path) -> None:
    secret, others = tmp_path / "secret.txt", tmp_path / "others.txt"
    secret.write_text(f"{SECRET}\n")
    others.write_text(SECRET[::-1])
    key = new_key("anna", tmp_path / "keys.txt")
    first = Keys.read(tmp_path / "keys.txt", secret)
    new_key("bert", tmp_path / "keys.txt")  # which ends no session
    second, other = (Keys.read(tmp_path / "keys.txt", each) for each in (secret, others))
    with serving(boards, Rules(first), replica=True) as asking:
        cookie = asking.post("/login", data={"key": key}, follow_redirects=False).cookies[COOKIE]
    for keys, status in ((second, 200), (other, 401)):
        with serving(boards, Rules(keys), replica=True) as asking:
            asking.cookies.set(COOKIE, cookie)
            assert asking.get("/api/collections").status_code == status


def test_a_secret_is_checked(tmp_path: Path) -> None:
    new_key("anna", tmp_path / "keys.txt")
    (tmp_path / "short.txt").write_text("short\n")
    for name, message in (("short.txt", "has 5 bytes, and 32 are needed"), ("none.txt", "cannot be read")):
        with pytest.raises(OptionError, match=f"{message}.*head -c 32"):
            ServeOptions(keys=tmp_path / "keys.txt", secret_file=tmp_path / name).rules()
    with pytest.raises(OptionError, match="Add --keys"):
        ServeOptions(secret_file=tmp_path / "short.txt")
    assert not ServeOptions(replica=True).alone
