"""One line for each request: readable on a terminal, JSON elsewhere. Queries are left out unless they are wanted."""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

access = logging.getLogger("crosscue.serving.access")
query_log = logging.getLogger("crosscue.serving.queries")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        fields = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        fields["message"] = record.getMessage()
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def begin_logs(stream: TextIO = sys.stderr, *, requests: bool = True, queries: bool = False) -> None:
    """Sends the records of the server to a stream: text on a terminal, JSON elsewhere.

    Args:
        stream: where the lines go.
        requests: True writes one line a request.
        queries: True writes the texts of searches too, which are private.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S") if stream.isatty() else JsonLines())
    for name in ("crosscue.serving", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    access.setLevel(logging.INFO if requests else logging.WARNING)
    query_log.setLevel(logging.INFO if queries else logging.WARNING)
