"""The client over real sockets: retries, one re-ask, refusals, caps, and no question paid twice."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from crosscue.data.pairs import ImageFile
from crosscue.errors import DataError, EndpointError, StorageError
from crosscue.interruption import Interruption
from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.conversation import HashedImage, Turn
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.failures import Interrupted, LimitReached, Malformed, Refused, Unanswered
from crosscue.knowledge.language_model import LanguageModel
from crosscue.knowledge.limits import Limits, Meter
from tests.knowledge.conftest import Serve, draw
from tests.knowledge.server import completion, error


class Answer(BaseModel):
    colour: str
    count: int = Field(ge=0)


GOOD = '{"colour": "red", "count": 2}'


class Session:
    """One run: opens cache and model, sends the requests, closes."""

    def __init__(self, folder: Path, limits: Limits | None = None, stopping: Any = None, **endpoint: Any) -> None:
        self.folder, self.limits, self.stopping = folder, limits or Limits(), stopping
        self.endpoint = Endpoint(**{"model": "m", "retries": 3, "timeout": 5.0, **endpoint})
        self.meter: Any = None
        self.model: Any = None

    def run(self, *questions: Any, schema: type[BaseModel] | None = None, together: bool = False) -> list[Any]:
        async def go() -> list[Any]:
            cache = ReplyCache(self.folder / "replies.sqlite")
            try:
                self.meter = Meter(self.limits, cache.spent(), self.stopping)
                async with LanguageModel(self.endpoint, cache, self.meter, "writer") as self.model:

                    def one(question: Any) -> Any:
                        turns = (question,) if isinstance(question, Turn) else (Turn("user", question),)
                        return self.model.ask(turns, schema) if schema else self.model.say(turns)

                    if together:
                        return await asyncio.gather(*map(one, questions), return_exceptions=True)
                    return [await one(question) for question in questions]
            finally:
                cache.close()

        return asyncio.run(go())


def in_order(*replies: Any) -> Any:
    return lambda received, number: replies[min(number, len(replies)) - 1]


def test_429_waits_as_long_as_retry_after_says(serve: Serve, tmp_path: Path) -> None:
    script = serve(in_order(error(429, "slow down", **{"Retry-After": "2"}), "fine"))
    assert Session(tmp_path, base_url=script.url).run("hello") == ["fine"]
    assert len(script.log) == 2
    assert script.log[1].time - script.log[0].time >= 1.95  # without the header it would be 0.5 s


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_passes_is_retried(serve: Serve, tmp_path: Path, status: int) -> None:
    script = serve(in_order(error(status, "not now"), "fine"))
    session = Session(tmp_path, base_url=script.url)
    assert session.run("hello") == ["fine"]
    assert len(script.log) == 2
    assert session.model.retried == 1


def test_backoff_grows(serve: Serve, tmp_path: Path) -> None:
    script = serve(in_order(error(500, "x"), error(502, "x"), "fine"))
    assert Session(tmp_path, base_url=script.url).run("hello") == ["fine"]
    first, second = (b.time - a.time for a, b in zip(script.log, script.log[1:], strict=False))
    assert first > 0.35 and second > 0.7  # 0.5 s and 1 s, less a quarter of jitter at most


def test_a_timeout_is_retried_and_then_unanswered(serve: Serve, tmp_path: Path) -> None:
    script = serve(lambda received, number: 2.0 if number == 1 else "fine")
    assert Session(tmp_path, base_url=script.url, timeout=0.3).run("hello") == ["fine"]
    slow = serve(2.0)
    with pytest.raises(Unanswered, match=r"no reply within 0.3 s, 2 times. Raise --writer.timeout"):
        Session(tmp_path, base_url=slow.url, timeout=0.3, retries=1).run("another")
    assert len(slow.log) == 2


def test_exhausted_retries_say_what_to_do(serve: Serve, tmp_path: Path) -> None:
    script = serve(error(429, "too many", **{"Retry-After": "0.01"}))
    with pytest.raises(Unanswered, match=r"HTTP 429 after 2 tries, Retry-After 0.01 s \(too many\)"):
        Session(tmp_path, base_url=script.url, retries=1).run("hello")


def test_a_retry_after_beyond_two_minutes_ends_the_request_at_once(serve: Serve, tmp_path: Path) -> None:
    script = serve(error(429, "tomorrow", **{"Retry-After": "3600"}))
    with pytest.raises(Unanswered, match="Retry-After 3600 s"):
        Session(tmp_path, base_url=script.url).run("hello")
    assert len(script.log) == 1


def test_malformed_json_is_requested_once_more_with_the_error(serve: Serve, tmp_path: Path) -> None:
    script = serve(in_order('{"colour": "red", "count": -1}', GOOD))
    assert Session(tmp_path, base_url=script.url).run("q", schema=Answer) == [Answer(colour="red", count=2)]
    assert len(script.log) == 2
    again = script.log[1].body["messages"]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert "count: Input should be greater than or equal to 0" in again[2]["content"]


def test_twice_malformed_is_kept_raw_and_never_paid_again(serve: Serve, tmp_path: Path) -> None:
    script = serve("no json at all")
    with pytest.raises(Malformed, match="twice"):
        Session(tmp_path, base_url=script.url).run("q", schema=Answer)
    assert len(script.log) == 2
    with sqlite3.connect(tmp_path / "replies.sqlite") as kept:
        bodies = [row[0] for row in kept.execute("SELECT body FROM replies")]
    assert len(bodies) == 2 and all("no json at all" in body for body in bodies)
    with pytest.raises(Malformed):
        Session(tmp_path, base_url=script.url).run("q", schema=Answer)
    assert len(script.log) == 2


@pytest.mark.parametrize(
    "wrapped",
    [
        f"```json\n{GOOD}\n```",
        f"Sure! Here it is:\n```\n{GOOD}\n```\nBye {{x}}",
        f'<think>maybe {{\'a\': 1}} or {{"colour": "no"}}</think>{GOOD}',
        f"{{not json}} {GOOD} {{}}",
    ],
)
def test_json_is_found_in_what_stands_around_it(serve: Serve, tmp_path: Path, wrapped: str) -> None:
    script = serve(wrapped)
    assert Session(tmp_path, base_url=script.url).run("q", schema=Answer) == [Answer(colour="red", count=2)]
    assert len(script.log) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        completion(None, refusal="I won't."),
        completion("", finish="content_filter"),
        error(400, "The response was filtered due to the content management policy"),
    ],
)
def test_refusals(serve: Serve, tmp_path: Path, reply: Any) -> None:
    script = serve(reply)
    with pytest.raises(Refused):
        Session(tmp_path, base_url=script.url).run("q")
    with pytest.raises(Refused):
        Session(tmp_path, base_url=script.url).run("another", schema=Answer)
    assert len(script.log) == 2


def test_an_empty_reply_is_malformed(serve: Serve, tmp_path: Path) -> None:
    script = serve(completion("<think>hm</think>", finish="length"))
    with pytest.raises(Malformed, match="ended with 'length'"):
        Session(tmp_path, base_url=script.url).run("q")


def test_images_are_small_jpegs_and_are_not_read_again(serve: Serve, tmp_path: Path) -> None:
    script = serve("an image")
    path = draw(tmp_path / "wide.jpg", "red", 3000)
    turn = Turn("user", "what?", (HashedImage(ImageFile(path), "abc"),))
    assert Session(tmp_path, base_url=script.url).run(turn) == ["an image"]
    (sent,) = script.log[0].images()
    assert sent.format == "JPEG" and sent.width == 1024 and sent.height == 14
    path.unlink()
    assert Session(tmp_path, base_url=script.url).run(turn) == ["an image"]
    assert len(script.log) == 1
    with pytest.raises(DataError, match=r"wide\.jpg"):
        Session(tmp_path, base_url=script.url, image_side=512).run(turn)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "m is not a multimodal model"),
        (400, "At most 0 image(s) may be provided in one request."),
        (404, "No endpoints found that support image input"),
        (500, "image input is not supported - hint: provide the mmproj"),
    ],
)
def test_an_endpoint_without_sight(serve: Serve, tmp_path: Path, status: int, message: str) -> None:
    script = serve(error(status, message))
    turn = Turn("user", "what?", (HashedImage(ImageFile(draw(tmp_path / "a.jpg", "red", 30)), "a"),))
    with pytest.raises(EndpointError, match=r"does not take images .* --writer.model"):
        Session(tmp_path, base_url=script.url, retries=0).run(turn)


def test_a_server_without_json_schema(serve: Serve, tmp_path: Path) -> None:
    script = serve(
        lambda received, number: (
            error(400, "response_format is not supported") if "response_format" in received.body else GOOD
        )
    )
    with pytest.raises(EndpointError, match=r"--writer.json_schema false"):
        Session(tmp_path, base_url=script.url).run("q", schema=Answer)
    found = Session(tmp_path, base_url=script.url, json_schema=False).run("q", schema=Answer)
    assert found == [Answer(colour="red", count=2)]
    schema = script.log[0].body["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["required"] == ["colour", "count"]
    assert schema["schema"]["additionalProperties"] is False


def test_what_is_sent(serve: Serve, tmp_path: Path) -> None:
    script = serve("fine")
    options = {"temperature": None, "seed": None, "token_parameter": "max_completion_tokens", "max_tokens": 7}
    Session(tmp_path, base_url=script.url, **options).run("q")
    assert script.log[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "q"}],
        "max_completion_tokens": 7,
    }


def test_the_key_is_sent_and_never_printed(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", "sk-very-secret-1")
    script = serve(
        in_order("fine", error(401, "Incorrect API key: sk-very-secret-1"), error(400, "bad sk-very-secret-1"))
    )
    session = Session(tmp_path, base_url=script.url, api_key_env="MY_KEY")
    assert session.run("one") == ["fine"]
    assert script.log[0].headers["authorization"] == "Bearer sk-very-secret-1"
    for question in ("two", "three"):
        with pytest.raises(EndpointError) as caught:
            session.run(question)
        assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text
    assert "secret" not in f"{session.endpoint} {session.endpoint.provenance()}"
    for file in tmp_path.glob("replies.sqlite*"):
        assert b"secret" not in file.read_bytes()


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ({"base_url": ""}, r"the writer has no endpoint. Give --writer.base_url"),
        ({"base_url": "localhost:8000"}, r"is not an address like"),
        ({"base_url": "http://me:pw@host/v1"}, r"contains a password"),
        ({"base_url": "http://localhost:1/v1", "model": ""}, r"has no model. Give --writer.model"),
        ({"base_url": "http://localhost:1/v1", "api_key_env": "NOT_SET"}, r"variable NOT_SET is empty"),
        ({"base_url": "http://127.0.0.1:1/v1", "retries": 0}, r"cannot be reached .* correct --writer.base_url"),
    ],
)
def test_endpoints_that_cannot_be_called(tmp_path: Path, endpoint: dict[str, Any], message: str) -> None:
    with pytest.raises(EndpointError, match=message) as caught:
        Session(tmp_path, **endpoint).run("q")
    assert "\n" not in str(caught.value)


def test_something_else_than_a_completion(serve: Serve, tmp_path: Path) -> None:
    script = serve(in_order(PlainTextResponse("<html>Welcome"), "fine"))
    with pytest.raises(EndpointError, match=r"'<html>Welcome'. Check that --writer.base_url ends in the version"):
        Session(tmp_path, base_url=script.url).run("q")
    assert Session(tmp_path, base_url=script.url).run("q") == ["fine"]
    gone = Session(tmp_path, base_url=script.url.removesuffix("/v1"))
    with pytest.raises(EndpointError, match=r"HTTP 404.*ends in the version"):
        gone.run("other")


def test_one_question_is_paid_once(serve: Serve, tmp_path: Path) -> None:
    script = serve("fine", delay=0.1)
    session = Session(tmp_path, base_url=script.url)
    assert session.run("q", "q", "q", together=True) == ["fine"] * 3
    assert session.model.replayed == 2
    assert Session(tmp_path, base_url=script.url).run("q") == ["fine"]
    assert len(script.log) == 1
    Session(tmp_path, base_url=script.url, temperature=0.5).run("q")
    Session(tmp_path, base_url=script.url, model="n").run("q")
    assert len(script.log) == 3


def test_no_more_at_once_than_allowed(serve: Serve, tmp_path: Path) -> None:
    script = serve("x", delay=0.05)
    Session(tmp_path, base_url=script.url, concurrency=2).run(*(f"q{n}" for n in range(8)), together=True)
    starts = [received.time for received in script.log]
    assert len(starts) == 8
    assert all(starts[i + 2] - starts[i] >= 0.045 for i in range(6))  # the third waits for one of the first two


def test_requests_are_paced(serve: Serve, tmp_path: Path) -> None:
    script = serve("x")
    Session(tmp_path, base_url=script.url, per_minute=300).run("a", "b", "c", together=True)
    starts = sorted(received.time for received in script.log)
    assert starts[2] - starts[0] >= 0.38  # 0.2 s each


def test_caps_stop_before_they_are_passed_and_say_how_to_go_on(serve: Serve, tmp_path: Path) -> None:
    script = serve("x")
    questions = [f"q{n}" for n in range(6)]
    capped = Session(tmp_path, Limits(max_calls=4), base_url=script.url)
    outcomes = capped.run(*questions, together=True)
    stopped = [outcome for outcome in outcomes if isinstance(outcome, LimitReached)]
    assert len(stopped) == 2 and len(script.log) == 4
    assert "raise --limits.max_calls and run the same command again" in str(stopped[0])
    with pytest.raises(LimitReached):  # a resumed run does not start from zero
        Session(tmp_path, Limits(max_calls=4), base_url=script.url).run(*questions)
    assert len(script.log) == 4
    assert Session(tmp_path, Limits(max_calls=6), base_url=script.url).run(*questions) == ["x"] * 6
    assert len(script.log) == 6


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        (Limits(max_tokens=600), 5),
        (Limits(max_spend=0.0013), 4),
    ],  # 120 tokens a call; 100 * 1 + 20 * 10 = 300 millionths
)
def test_caps_on_tokens_and_spend(serve: Serve, tmp_path: Path, limits: Limits, allowed: int) -> None:
    script = serve("x")
    prices = {"input_price": 1.0, "output_price": 10.0, "max_tokens": 20}
    session = Session(tmp_path, limits, base_url=script.url, **prices)
    with pytest.raises(LimitReached, match="Every reply is kept"):
        session.run(*(f"q{n}" for n in range(20)))
    assert len(script.log) == allowed
    total = session.meter.spent
    assert total.cost == pytest.approx(allowed * 300e-6)
    assert total.input_tokens + total.output_tokens == allowed * 120


def test_a_cap_needs_a_server_that_counts(serve: Serve, tmp_path: Path) -> None:
    script = serve("x", usage=False)
    with pytest.raises(EndpointError, match="contain no token counts"):
        Session(tmp_path, Limits(max_tokens=10_000), base_url=script.url).run("q")
    assert Session(tmp_path, Limits(max_calls=9), base_url=script.url).run("q", "r") == ["x", "x"]


def test_stopping_keeps_what_is_there(serve: Serve, tmp_path: Path) -> None:
    stopping = Interruption()

    def answer(received: Any, number: int) -> str:
        stopping.requested = number == 2
        return "x"

    script = serve(answer)
    with pytest.raises(Interrupted, match="Run the same command again"):
        Session(tmp_path, stopping=stopping, base_url=script.url).run("a", "b", "c")
    assert len(script.log) == 2
    assert Session(tmp_path, base_url=script.url).run("a", "b", "c") == ["x"] * 3
    assert len(script.log) == 3


def test_a_damaged_cache_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "replies.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match="move it away"):
        ReplyCache(tmp_path / "replies.sqlite")
