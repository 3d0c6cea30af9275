"""Checks of every request: keys, hosts, origins, rates; and the headers of every answer."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from crosscue.errors import OptionError
from crosscue.serving.failures import Refusal, answer, fault
from crosscue.serving.keys import Keys

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "crosscue"
WEEK = 7 * 24 * 3600
OPEN_PATHS = ("/healthz", "/readyz", "/login", "/page/")
"""Paths that need no key: signs of life, the login, and the files of the page, which hold no data."""
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
FORMS = ("/login", "/api/zip")
"""Paths that take a form of the page; the others take JSON."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Rules:
    """Rules of the guard."""

    keys: Keys | None = None
    hosts: frozenset[str] = frozenset()
    """Names of the server beside `localhost` and addresses in numbers, against DNS rebinding."""
    origins: frozenset[str] = frozenset()
    """Other origins whose pages may send requests (CORS)."""
    rate: RateLimitItem | None = None
    limiter: MovingWindowRateLimiter = field(default_factory=lambda: MovingWindowRateLimiter(MemoryStorage()))


def own_origin(headers: Headers, host: str) -> bool:
    """Returns whether a request comes from a page of this server, or from no page.

    A form sends the origin `null` under our referrer policy; then the browser's own `Sec-Fetch-Site` decides.
    """
    origin = headers.get("origin")
    if origin == "null":
        return headers.get("sec-fetch-site") == "same-origin"
    try:
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # an address in brackets that do not end
        return False


def rate_of(text: str) -> RateLimitItem:
    """Returns a rate such as `20/second`.

    Raises:
        OptionError: it is none.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise OptionError(f"--rate {text}: this is no rate. Write one such as 20/second or 600/minute.") from error


class Guard:
    """Middleware that checks every request before it is read, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, rules: Rules, max_body: Callable[[str], int]) -> None:
        """Keeps the rules, and the function from a path to the most bytes that a request may have."""
        self.app, self.rules, self.max_body = app, rules, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with the refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        allowed = self.allowed_origin(headers)
        read, too_large, started = 0, False, False
        most = self.max_body(scope["path"])

        async def send_guarded(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                if allowed is not None:
                    out["access-control-allow-origin"] = allowed
                    out["access-control-allow-headers"] = "authorization, content-type"
                    out["access-control-allow-methods"] = "GET, POST, DELETE"
                    out.add_vary_header("origin")
            await send(message)

        async def receive_counted() -> Message:
            nonlocal read, too_large
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                too_large = True
                raise self.larger(most)
            return message

        async def send_unless_too_large(message: Message) -> None:
            if not too_large:
                await send_guarded(message)

        if allowed is not None and scope["method"] == "OPTIONS":  # a browser asks before it sends JSON
            await Response(status_code=204)(scope, receive, send_guarded)
            return
        try:
            self.check(scope, headers, allowed)
            asked = (
                {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            )  # the server sends no body to HEAD
            await self.app(asked, receive_counted, send_unless_too_large)
            if too_large:  # the application has answered something else, which was not sent
                raise self.larger(most)
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send_guarded)
        except asyncio.CancelledError:  # the server ends, and this request took longer than it waits
            if started:
                raise
            await answer(
                Refusal(
                    503, "this server is ending. Send the request again.", code="ending", headers={"Retry-After": "2"}
                )
            )(scope, receive, send_guarded)
        except Exception as error:
            if started:
                raise
            await answer(fault(scope["path"], error))(scope, receive, send_guarded)

    def larger(self, most: int) -> Refusal:
        """Returns the refusal of a request that is too large."""
        return Refusal(413, f"a request may have at most {most:,} bytes.", code="too_large")

    def allowed_origin(self, headers: Headers) -> str | None:
        """Returns the foreign origin of a request where it may send requests."""
        origin = headers.get("origin")
        return origin if origin in self.rules.origins else None

    def check(self, scope: Scope, headers: Headers, allowed: str | None) -> None:
        """Raises `Refusal` for a foreign host (421), a foreign origin (403), too many bytes (413), another type than JSON (415), no key (401), or too high a rate (429)."""
        host = headers.get("host", "")
        if not self.known_host(host):
            raise Refusal(421, "this server does not answer to that name.", code="foreign_host")
        method, path = scope["method"], scope["path"]
        length = headers.get("content-length", "0")
        most = self.max_body(path)
        if not length.isdigit() or int(length) > most:
            raise self.larger(most)
        if method not in ("GET", "HEAD", "OPTIONS"):
            if allowed is None and not own_origin(headers, host):
                raise Refusal(403, "pages of another origin may not send requests here.", code="foreign_origin")
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            form = path in FORMS and kind == "application/x-www-form-urlencoded"
            if method == "POST" and kind != "application/json" and not form:
                raise Refusal(415, "send JSON, with the header Content-Type: application/json.", code="not_json")
        who = (scope.get("client") or ("",))[0]
        if self.rules.keys is not None and not path.startswith(OPEN_PATHS) and method != "OPTIONS":
            who = self.owner(headers) or ""
            if not who and not (path == "/" and method in ("GET", "HEAD")):  # the page itself shows the login
                raise Refusal(401, "this server needs a key.", code="no_key", headers={"WWW-Authenticate": "Bearer"})
        rate = self.rules.rate
        if rate is not None and not path.startswith(OPEN_PATHS) and not self.rules.limiter.hit(rate, who):
            raise Refusal(429, "too many requests. Wait a little.", code="rate", headers={"Retry-After": "1"})
        scope.setdefault("state", {})["owner"] = who

    def known_host(self, host: str) -> bool:
        """Returns whether a `Host` header is `localhost`, an address in numbers, or a listed name."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name == "localhost" or name in self.rules.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def owner(self, headers: Headers) -> str | None:
        """Returns the name of the key or of the cookie of a request."""
        keys = self.rules.keys
        if keys is None:
            return None
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if key:
            return keys.owner(key.strip()) if scheme.lower() == "bearer" else None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return keys.owner_of_cookie(cookie.value) if cookie is not None else None
