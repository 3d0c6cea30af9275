"""Keys, hosts, origins and rates: the requests that are let through, and the answers to the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crosscue.errors import OptionError
from crosscue.serving.app import application
from crosscue.serving.holdings import Holdings
from crosscue.serving.keys import Keys, new_key
from crosscue.serving.options import ServeOptions
from crosscue.serving.security import COOKIE, Rules, rate_of
from crosscue.serving.service import Service
from tests.serving.encoders import ColourEncoder

ASK = {"input": "red"}


@contextmanager
def client(rules: Rules) -> Iterator[TestClient]:
    app = application(Service({"colours": ColourEncoder}), Holdings([]), rules)
    with TestClient(app, base_url="http://127.0.0.1:7878") as asking:
        while asking.get("/readyz").status_code != 200:
            pass
        yield asking


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]  # type: ignore[attr-defined]


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "keys.txt"
    key = new_key("anna", path)
    new_key("bert", path)
    return key, path


def test_a_key_opens_and_no_or_another_key_does_not(keys: tuple[str, Path]) -> None:
    key, path = keys
    with client(Rules(Keys.read(path))) as asking:
        assert code(asking.post("/v1/embeddings", json=ASK)) == (401, "no_key")
        for wrong in (f"Bearer {key}x", "Bearer ", f"Basic {key}", key, "Bearer " + path.read_text().split()[1]):
            assert code(asking.post("/v1/embeddings", json=ASK, headers={"authorization": wrong}))[0] == 401
        assert asking.post("/v1/embeddings", json=ASK, headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert asking.get("/healthz").status_code == 200
        assert asking.get("/metrics").status_code == 401


def test_the_file_keeps_digests_and_not_keys(keys: tuple[str, Path]) -> None:
    key, path = keys
    assert key not in path.read_text() and path.stat().st_mode & 0o077 == 0
    with pytest.raises(OptionError, match="already"):
        new_key("anna", path)


def test_cookies_are_signed_and_end(keys: tuple[str, Path]) -> None:
    _, path = keys
    read = Keys.read(path)
    later = int(time.time()) + 60
    assert read.owner_of_cookie(read.cookie("anna", later)) == "anna"
    assert read.owner_of_cookie(read.cookie("anna", later - 120)) is None
    assert read.owner_of_cookie(read.cookie("carl", later)) is None
    assert read.owner_of_cookie(read.cookie("anna", later).replace("anna", "bert")) is None
    assert read.owner_of_cookie(read.cookie("anna", later)[:-1]) is None
    assert read.owner_of_cookie(f"anna.{'9' * 5000}.x") is None and read.owner_of_cookie("anna.\xb2.x") is None
    path.write_text(path.read_text().splitlines()[1])
    assert Keys.read(path).owner_of_cookie(read.cookie("bert", later)) is None
    with client(Rules(read)) as asking:
        asking.cookies.set(COOKIE, read.cookie("bert", later))
        assert asking.post("/v1/embeddings", json=ASK).status_code == 200


@pytest.mark.parametrize("content", ["", "anna", "anna xyz", "anna " + "G" * 64])
def test_a_wrong_file_of_keys_is_named_with_its_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(content)
    with pytest.raises(OptionError, match="crosscue serve key NAME"):
        Keys.read(path)


def test_foreign_hosts_are_refused_against_dns_rebinding() -> None:
    for host, status in (
        ("127.0.0.1:7878", 200),
        ("localhost:7878", 200),
        ("[::1]:7878", 200),
        ("images.example:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ):
        with client(Rules(hosts=frozenset({"images.example"}))) as asking:
            assert asking.get("/v1/models", headers={"host": host}).status_code == status, host


def test_pages_of_other_origins_cannot_send_requests() -> None:
    rules = Rules(origins=frozenset({"https://friend.example"}))
    with client(rules) as asking:

        def origin(name: str) -> object:
            return asking.post("/v1/embeddings", json=ASK, headers={"origin": name})

        assert origin("http://127.0.0.1:7878").status_code == 200  # type: ignore[attr-defined]
        for foreign in ("http://evil.example", "null", "http://127.0.0.1:7879", "http://[evil"):
            assert code(origin(foreign)) == (403, "foreign_origin")
        friend = origin("https://friend.example")
        assert friend.status_code == 200  # type: ignore[attr-defined]
        assert friend.headers["access-control-allow-origin"] == "https://friend.example"  # type: ignore[attr-defined]


def test_a_browser_may_ask_before_a_friend_sends_json() -> None:
    with client(Rules(origins=frozenset({"https://friend.example"}))) as asking:

        def asked(origin: str) -> int:
            headers = {"origin": origin, "access-control-request-method": "POST"}
            return asking.options("/v1/embeddings", headers=headers).status_code

        assert asked("https://friend.example") == 204 and asked("https://evil.example") == 405


def test_a_form_of_another_page_is_no_json() -> None:
    with client(Rules()) as asking:
        assert code(asking.post("/v1/embeddings", data={"input": "red"})) == (415, "not_json")


def test_a_rate_is_counted_by_key_or_address() -> None:
    with client(Rules(rate=rate_of("3/minute"))) as asking:
        answers = [asking.post("/v1/embeddings", json=ASK).status_code for _ in range(5)]
        assert answers == [200, 200, 200, 429, 429]
        assert asking.get("/healthz").status_code == 200
    with pytest.raises(OptionError, match="20/second"):
        rate_of("many")


def test_every_answer_has_the_headers_against_foreign_content() -> None:
    with client(Rules()) as asking:
        for path in ("/healthz", "/nowhere", "/v1/models"):
            headers = asking.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_other_machines_need_a_key_or_a_clear_word() -> None:
    for open_hosts in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        with pytest.raises(OptionError, match="crosscue serve key NAME"):
            ServeOptions(host=open_hosts)
        ServeOptions(host=open_hosts, open_to_everyone=True)
    for own in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        ServeOptions(host=own)
    assert ServeOptions().alone
    for proxied in (ServeOptions(keys=Path("keys.txt")), ServeOptions(hosts="images.example")):
        assert proxied.loopback and not proxied.alone
    with pytest.raises(OptionError, match="65535"):
        ServeOptions(port=70000)
