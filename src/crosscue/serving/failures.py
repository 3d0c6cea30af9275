"""Every refusal in one shape: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from crosscue.errors import CrosscueError, DataError, OptionError

log = logging.getLogger("crosscue.serving")

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    410: "not_found_error",
    421: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "not_ready_error",
}
"""Status -> type of the error; every other status is an `invalid_request_error`."""
FAULTS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "extra_forbidden": "is no parameter of this endpoint",
    "finite_number": "must be a finite number",
    "json_invalid": "is no valid JSON",
}
"""Kind of a validation error of pydantic -> the end of our message."""
LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than": ("lt", "must be less than {}"),
    "too_long": ("max_length", "may hold at most {} items"),
    "too_short": ("min_length", "must hold at least {} items"),
    "string_too_long": ("max_length", "may have at most {} characters"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "literal_error": ("expected", "must be {}"),
    "enum": ("expected", "must be {}"),
}
"""Kind of a validation error -> the name of its bound, and the end of our message."""


DECODER = re.compile(r"damaged or truncated \(.*\)\.", re.DOTALL)
"""A message with the words of a decoder, which stay in the server."""


class ErrorParts(BaseModel):
    """Parts of a refusal."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Body of every answer that is no success."""

    error: ErrorParts


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 405, 409, 410, 413, 415, 416, 421, 422, 429, 503)
}
"""Refusals of every operation, for the schema of the API."""


class Refusal(CrosscueError):
    """A request that is not answered, with its HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps the parts of the answer.

        Args:
            status: HTTP status.
            message: one line for the user.
            code: a word for programs.
            param: name of the parameter at fault.
            headers: further headers of the answer, such as `Retry-After`.
        """
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, dict(headers or {})


def answer(refusal: Refusal) -> JSONResponse:
    """Returns the answer to a refused request."""
    kind = KINDS.get(refusal.status, "invalid_request_error")
    body = {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}
    return JSONResponse({"error": body}, refusal.status, refusal.headers)


def message_of(fault: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns our message about one validation error, and the parameter at fault."""
    _, *place = [str(part) for part in fault["loc"]]  # body, query or path comes first
    name = next((part for part in place if not part.isdigit()), None)
    kind = fault["type"]
    if kind in LIMITS:
        bound, ending = LIMITS[kind]
        text = ending.format(fault.get("ctx", {}).get(bound))
    else:
        text = FAULTS.get(kind, "is not valid")
    return f"{name or 'the request'} {text}.", name


def add_failures(app: FastAPI) -> None:
    """Adds the answers to all errors of an application."""

    @app.exception_handler(CrosscueError)
    async def ours(request: Request, error: CrosscueError) -> JSONResponse:
        if isinstance(error, Refusal):
            return answer(error)
        if not isinstance(error, OptionError | DataError):  # other messages may name paths
            return answer(fault(request.url.path, error))
        status = 415 if isinstance(error, DataError) else 422
        text = DECODER.sub("damaged or truncated.", str(error))
        return answer(Refusal(status, text, code=type(error).__name__))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        text, param = message_of(error.errors()[0])
        return answer(Refusal(422, text, code="invalid_parameter", param=param))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:
            return answer(Refusal(413, "the request is too large for this endpoint.", code="too_large"))
        if error.status_code == 400:
            return answer(Refusal(400, "the request cannot be read as JSON or as a form.", code="unreadable_request"))
        phrase = HTTPStatus(error.status_code).phrase.lower()
        return answer(Refusal(error.status_code, f"{phrase}.", headers=error.headers))


def fault(path: str, error: Exception) -> Refusal:
    """Returns the answer to a request that met a bug of ours, and logs the bug under the number in the answer."""
    number = secrets.token_hex(6)
    log.error("failure %s at %s", number, path, exc_info=error)
    return Refusal(500, f"this is a fault of the server. It is logged as {number}.", code=number)
