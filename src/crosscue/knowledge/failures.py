"""What can go wrong between us and a language model, each with what the user can do."""

from __future__ import annotations

from crosscue.errors import CrosscueError


class EndpointError(CrosscueError):
    """The endpoint is not named, cannot be reached, or refuses every request alike: asking again would not help."""


class LimitReached(CrosscueError):
    """The cap on calls, tokens or spend would be exceeded; what was paid for is kept."""


class Interrupted(CrosscueError):
    """The user asked to stop; calls under way were finished and kept."""

    exit_code = 130


class Unanswered(CrosscueError):
    """One request got no answer after all retries; another one may."""


class ReplyError(CrosscueError):
    """A reply came and cannot be used; the record it was for is flagged and the work goes on."""

    flag = "unusable"


class Refused(ReplyError):
    """The model, or the filter in front of it, declined to answer."""

    flag = "refused"


class Malformed(ReplyError):
    """The reply did not fit its schema, and neither did the second one."""

    flag = "malformed"
