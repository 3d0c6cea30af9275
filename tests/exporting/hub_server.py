"""The part of the Hub's HTTP interface that one repository needs, on a local address."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """Files of the one repository, `me/birds`, and the address of the server."""

    endpoint: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    private: bool | None = None
    """None until the repository is created."""


@contextmanager
def hub() -> Iterator[Repository]:
    """Serves a repository that does not exist yet."""
    repository = Repository()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(repository))
    repository.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield repository
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def handler(repository: Repository) -> type[BaseHTTPRequestHandler]:
    """Returns the handler of the requests of a client."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, content: object, code: int = 200, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/api/repos/create":
                repository.private = json.loads(body).get("visibility") == "private"
                self.answer({"url": f"{repository.endpoint}/me/birds", "id": "me/birds"})
            elif self.path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif self.path.startswith("/api/models/me/birds/preupload/"):
                files = [file["path"] for file in json.loads(body)["files"]]
                self.answer(
                    {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]}
                )
            elif self.path.startswith("/api/models/me/birds/commit/"):
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer({"commitUrl": f"{repository.endpoint}/me/birds/commit/{COMMIT}", "commitOid": COMMIT})
            else:
                self.answer({"error": "not found"}, 404)

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/resolve/")[2].partition("/")[2]
            if not self.path.startswith("/me/birds/resolve/") or repository.private is None:
                self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            elif name not in repository.files:
                self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
            else:
                content = repository.files[name]
                self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

        do_HEAD = do_GET

    return Handler
