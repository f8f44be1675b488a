"""Structured logs: one line per event, the call's id in every line of a call.

Keys, audio, SDP and SIP bodies are never passed to a logger anywhere; numbers and transcripts only where the
configuration asks for them. `redact` is the second fence behind that rule.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

from bridge.config import Log

_SECRET = re.compile(r"(?:^|_)(?:key|password|authorization|token|secret)$", re.IGNORECASE)


def redact(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Hide the value of any field whose name says that it is a secret."""
    for name in event:
        if _SECRET.search(name):
            event[name] = "(hidden)"
    return event


def set_up(settings: Log) -> None:
    """Send structlog and the libraries' logging to standard error, in one format."""
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
            *shared,
            structlog.processors.format_exc_info,
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
