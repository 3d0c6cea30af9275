"""A local stand-in for the Hub: the repository org/tiny is a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "c" * 40


@contextmanager
def serving(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves a folder as org/tiny while the block runs; yields the requested paths."""
    from huggingface_hub import constants

    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer(True)

        def do_HEAD(self) -> None:
            self.answer(False)

        def answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            requested.append(path)
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            names = [str(file.relative_to(folder)) for file in files]
            if path.startswith("/api/models/org/tiny/tree/"):
                rows = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": digest(file)[:40]}
                    for name, file in zip(names, files, strict=True)
                ]
                self.send(json.dumps(rows).encode(), with_body)
            elif path.startswith("/api/models/org/tiny"):
                model = {"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                self.send(json.dumps(model).encode(), with_body)
            elif path.startswith("/org/tiny/resolve/") and (name := path.split("/", 5)[5]) in names:
                content = (folder / name).read_bytes()
                self.send(content, with_body, ETag=f'"{digest(folder / name)}"', **{"X-Repo-Commit": COMMIT})
            else:
                self.send(b"{}", with_body, 404, **{"X-Error-Code": "RepoNotFound"})

        def send(self, body: bytes, with_body: bool, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    try:
        yield requested
    finally:
        server.shutdown()
        server.server_close()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
