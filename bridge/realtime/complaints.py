"""What a session complains of: each error counted under its code, few of them logged."""

from __future__ import annotations

import re

import structlog

from bridge.realtime.events import SessionError

log = structlog.get_logger("sipbridge.call")

KNOWN_ERRORS = 32
"""Error codes of one call that are counted apart."""
LOGGED_ERRORS = 20
"""Errors of one call that are logged as warnings; more are only counted."""
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
"""What an error code looks like; anything else a server says is not fit for a label."""


class Complaints:
    """The errors of one session, in `counts`: code → how often."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def note(self, error: SessionError) -> str:
        """Count and log one; the code it is counted under."""
        counts, code = self._counts, error.code
        if not _CODE.match(code) or (code not in counts and len(counts) >= KNOWN_ERRORS):
            code = "other"
        counts[code] = counts.get(code, 0) + 1
        quiet = not error.fatal and (error.harmless or sum(counts.values()) > LOGGED_ERRORS)
        tell = log.debug if quiet else log.warning
        tell("session.error", code=code, message=error.message, fatal=error.fatal)
        return code
