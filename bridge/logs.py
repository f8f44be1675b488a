"""Structured logs: one line per event, the call's id in every line of a call.

Keys, audio, SDP and SIP bodies are never passed to a logger anywhere; numbers and transcripts only where the
configuration asks for them. `redact` is the second fence behind that rule.
"""

from __future__ import annotations

import logging
import re
import sys
from functools import lru_cache
from typing import Any

import structlog

from bridge.config import Log

_SECRET = re.compile(r"(?:^|_)(?:key|password|authorization|token|secret)$", re.IGNORECASE)


_hidden: list[str] = []
"""Long ones first: one may be a part of another."""


def hide(secret: str) -> None:
    """Never show this text in any line, whoever says it: services repeat keys in their errors."""
    if secret and secret not in _hidden:
        _hidden.append(secret)
        _hidden.sort(key=len, reverse=True)


def shown(words: str) -> str:
    """Words of others, without our secrets."""
    for secret in _hidden:
        words = words.replace(secret, "(hidden)")
    return words


def redact(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Hide the value of any field whose name says that it is a secret, and known secrets in any other."""
    for name, value in event.items():
        if _is_secret(name):
            event[name] = "(hidden)"
        elif isinstance(value, str):
            event[name] = shown(value)
    return event


@lru_cache(256)
def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def set_up(settings: Log) -> None:
    """Send structlog and the libraries' logging to standard error, in one format."""
    # No line names its place in the source, thread or process, and finding them out is a third of a line's cost.
    logging._srcfile = None  # as the manual of `logging` says, "Optimization"
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:-1],
            structlog.processors.format_exc_info,
            redact,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [to_stderr]
    root.setLevel(logging.WARNING)
    logging.getLogger("sipbridge").setLevel(settings.level.upper())


class LogBudget:
    """At most so many lines a second of one kind: a flood must not fill the disk, nor hold up the calls."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._logged = 0
        self._unlogged = 0

    def take(self, now: float) -> int | None:
        """How many lines were left out before this one; None: this one is left out too. `now` in seconds."""
        if int(now) != self._second:
            self._second, self._logged = int(now), 0
        if self._logged >= self._per_second:
            self._unlogged += 1
            return None
        self._logged += 1
        unlogged, self._unlogged = self._unlogged, 0
        return unlogged
