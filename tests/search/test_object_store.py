"""A collection whose tables are in an object store: a local server that speaks S3 (`pip install 'moto[server]'`)."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("lancedb")

from crosscue.encoding.query import Term
from crosscue.errors import CollectionError, StorageError
from crosscue.search.collection import create_collection, open_collection
from crosscue.search.indexing import Indexing, index, targets_of, walks_of, writing
from crosscue.search.labels import Label, add_labels, labels_of
from crosscue.search.request import Request
from crosscue.search.searching import Searcher
from tests.cli import refused
from tests.search.conftest import ColourEncoder, paint, rows_of

SERVER = shutil.which("moto_server")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of an empty bucket."""
    if SERVER is None:
        pytest.skip("no moto_server on PATH: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([SERVER, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(
                    urllib.request.Request(f"{address}/{tmp_path.name}".lower().replace("_", "-"), method="PUT")
                )
                break
            except OSError:
                time.sleep(0.1)
        yield f"s3://{tmp_path.name}/mine".lower().replace("_", "-")
    finally:
        process.terminate()
        process.wait()


def run(local: Path, store: str | None, photos: Path, encoder: ColourEncoder, **options: object) -> str:
    with writing(local, store=store) as found:
        space = found.add_space("mine", encoder.identity)
        chosen = Indexing(batch_size=4, threads=2, **options)
        targets = targets_of(found, [photos])
        found.save()
        return str(index(found, space, lambda: encoder, walks_of(found, targets, chosen.scan), chosen, {}))


def test_tables_behind_s3_are_written_changed_and_searched(store: str, tmp_path: Path, encoder: ColourEncoder) -> None:
    photos, local = tmp_path / "photos", tmp_path / "my.crosscue"
    for number in range(6):
        paint(photos / f"{number}.png", number)
    (photos / "2.txt").write_text("a red bicycle")
    assert run(local, store, photos, encoder, captions=True) == "6 images: 6 added, 0 same."
    assert not (local / "tables").exists()
    (photos / "0.png").rename(photos / "moved.png")
    paint(photos / "1.png", 100)
    (photos / "5.png").unlink()
    assert run(local, None, photos, encoder) == "5 images: 0 added, 1 changed, 1 moved, 3 same, 1 removed."
    assert set(rows_of(local)) == {"moved.png", "1.png", "2.png", "3.png", "4.png"}
    collection = open_collection(local)
    hits = Searcher(collection, encoder).search([Term("bicycle")], Request(k=3))
    assert (hits[0].path, hits[0].matched) == (str(photos / "2.png"), "caption")
    assert collection.captions_table().count_rows() == 1
    assert labels_of(collection) == []
    add_labels(collection, [Label("bicycle", hits[0].id, True)])
    assert [label.text for label in labels_of(collection)] == ["bicycle"]
    with pytest.raises(CollectionError, match="the tables of this collection are in s3://"):
        create_collection(local, "s3://elsewhere/mine")


def test_a_store_that_cannot_be_reached_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: ColourEncoder
) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    paint(tmp_path / "photos" / "0.png", 0)
    with pytest.raises(StorageError, match=r"the object store cannot be reached, or refuses\. Check the bucket"):
        run(tmp_path / "c", "s3://nowhere/mine", tmp_path / "photos", encoder)


class Unconditional(BaseHTTPRequestHandler):
    """A store that is empty, and refuses conditional writes."""

    def answer(self, status: int, body: bytes = b"") -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", "none")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        listing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        self.answer(*((200, listing) if "list-type" in self.path else (404,)))

    def do_HEAD(self) -> None:
        self.answer(404)

    def do_PUT(self) -> None:
        self.answer(501 if "If-None-Match" in self.headers else 200)

    def do_POST(self) -> None:
        self.answer(200, b"<DeleteResult/>")

    def log_message(self, *given: object) -> None:
        """Prints nothing."""


def test_a_store_without_conditional_writes_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: ColourEncoder
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Unconditional)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in {"AWS_ALLOW_HTTP": "true", "AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "any"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    paint(tmp_path / "photos" / "0.png", 0)
    with pytest.raises(
        StorageError, match=r"s3://plain/mine.* refuses conditional writes, .* Use a store that has them\."
    ):
        run(tmp_path / "c", "s3://plain/mine", tmp_path / "photos", encoder)
    server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--collection", "s3://bucket/mine"), "Name a folder for the rest, such as --local my.crosscue"),
        (("--collection", "gs://bucket/mine", "--local", "c"), "tables can be in a folder or behind s3://"),
        (("--collection", "here", "--local", "c"), "Leave one out"),
    ],
)
def test_mistakes_about_a_store_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("index", "photos", "--run", "zero_shot", *arguments)


def test_an_address_in_place_of_the_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="Give the folder that was --local"):
        open_collection("s3://bucket/mine")
