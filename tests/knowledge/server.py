"""A real HTTP server for chat/completions whose replies a test scripts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image


@dataclass
class Received:
    """One request as it arrived."""

    body: dict[str, Any]
    headers: dict[str, str]
    time: float
    answered: bool = False

    @property
    def identity(self) -> str:
        return hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()

    @property
    def question(self) -> str:
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else next(p["text"] for p in content if p["type"] == "text")

    def images(self) -> list[Image.Image]:
        found = []
        for message in self.body["messages"]:
            if isinstance(message["content"], list):
                for part in message["content"]:
                    if part["type"] == "image_url":
                        encoded = part["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
                        found.append(Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))))
        return found


@dataclass
class Scripted:
    """Script of the server's replies, and every request that arrived."""

    answer: Callable[[Received, int], Any]
    """Request and its index -> text of the reply, or a whole Response."""
    delay: float = 0.0
    log: list[Received] = field(default_factory=list)
    hold_after: int | None = None
    """After so many answers the next requests wait until `release` is set."""
    release: threading.Event = field(default_factory=threading.Event)
    usage: bool = True
    url: str = ""

    def answered(self) -> list[Received]:
        return [received for received in self.log if received.answered]

    def repeated(self) -> list[str]:
        """Identities of requests that were answered more than once."""
        return [key for key, count in Counter(received.identity for received in self.answered()).items() if count > 1]


def completion(
    text: str | None, *, finish: str = "stop", refusal: str | None = None, usage: bool = True
) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return body


def error(status: int, message: str, **headers: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "error"}}, status_code=status, headers=headers)


class Server:
    """One server on a free port of 127.0.0.1 for all scripts, each under a path of its own, until it is closed."""

    def __init__(self) -> None:
        self.scripts: list[Scripted] = []
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(self._application(), log_level="error", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def start(self) -> None:
        self.thread.start()
        until = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.01)

    def add(self, script: Scripted) -> Scripted:
        self.scripts.append(script)
        script.url = f"{self.address}/{len(self.scripts) - 1}/v1"
        return script

    def close(self) -> None:
        for script in self.scripts:
            script.release.set()
        self.server.should_exit = True
        self.thread.join(timeout=10)
        self.socket.close()

    def _application(self) -> FastAPI:
        application = FastAPI()

        @application.post("/{index}/v1/chat/completions")
        async def chat(index: int, request: Request) -> Response:
            return await _reply(self.scripts[index], request)

        return application


async def _reply(script: Scripted, request: Request) -> Response:
    received = Received(await request.json(), dict(request.headers), time.monotonic())
    script.log.append(received)
    number = len(script.log)
    if script.hold_after is not None and len(script.answered()) >= script.hold_after:
        while not script.release.is_set():
            await asyncio.sleep(0.01)
        return error(503, "released")
    received.answered = True  # before anything is awaited, so that no more than hold_after are answered
    await asyncio.sleep(script.delay)
    reply = script.answer(received, number)
    if isinstance(reply, Response):
        received.answered = reply.status_code == 200
        return reply
    if isinstance(reply, float):  # too late for the client
        received.answered = False
        await asyncio.sleep(reply)
        return JSONResponse(completion("late"))
    return JSONResponse(reply if isinstance(reply, dict) else completion(reply, usage=script.usage))


COLOURS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 200), "grey": (128, 128, 128)}


def colour_of(image: Image.Image) -> str:
    """The nearest of four colours of an image's middle, and its width: all that the scripted model sees."""
    seen = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], seen, strict=True)))


def describe_like_a_model(received: Received, number: int) -> str:
    """A writer and a judge: answers follow from the request alone, and have the faults real models have."""
    question = received.question
    images = received.images()
    width = images[0].width if images else 0
    if "JSON object" in question:
        caption = re.search(r"Caption: (.*)", first_question(received)).group(1)
        return verdict_like_a_model(caption, width)
    if "different pictures have this same caption" in question:  # words: ok
        caption = re.search(r"Caption: (.*)", question).group(1)
        return f"{caption.rstrip('.')} beside {width} small stones."
    if "Write it again in at most" in question:
        name = re.search(r"the name '(.*?)'", question).group(1)
        return f"A {name} on a lawn with a long row of trees behind it."
    colour = colour_of(images[0])
    return [
        f"The image shows a dog with a {colour} coat sitting on grass near {width} stones.",
        f"**A shiba inu** with a {colour} collar is lying on a rug, {width} cm wide. Let me know if you need more!",
        f"A dog with a {colour} coat stands in a garden.",  # the same for all images of one colour
        f"```\nA {colour} animal sleeps on a sofa with {width} cushions, near a window with a very bright light\n```",
        f"Two old lamps stand near a {colour} wall with {width} bricks.",
        "I'm sorry, but I can't describe this picture.",  # words: ok
    ][width % 6]


def first_question(received: Received) -> str:
    return next(
        part["text"]
        for message in received.body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "text"
    )


def verdict_like_a_model(caption: str, width: int) -> str:
    verdict = {"faithfulness": 5, "coverage": 4, "fluency": 5, "hallucinations": [], "missing": [], "revised": caption}
    if "rug" in caption and "wooden" not in caption:
        verdict |= {
            "coverage": 3,
            "missing": ["the floor"],
            "revised": caption.replace("a rug", "a rug on a wooden floor"),
        }
    if width % 7 == 0:
        return "The caption is fine."
    return json.dumps(verdict) if width % 2 else f"Here you are:\n```json\n{json.dumps(verdict)}\n```"
