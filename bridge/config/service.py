"""The service itself: media, limits, pages and log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from .folder import WritableFolder
from .section import Section
from .spending import Spend


def _ports(text: str) -> str:
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdigit() and last.strip().isdigit()):
        raise ValueError("write a range as 20000-20999")
    if not 1024 <= int(first) < int(last) <= 65535:
        raise ValueError("the range must lie within 1024-65535 and hold two ports or more, the lower one first")
    return text


class Media(Section):
    """RTP."""

    ports: Annotated[str, AfterValidator(_ports)] = "20000-20999"
    append_ms: int = Field(default=20, ge=20, le=100)
    """Milliseconds of the caller's audio in one event to the session."""
    rtp_timeout_s: float = Field(default=30, ge=1, le=3600)
    """A call with no packet for so long is ended."""
    lead_ms: int = Field(default=60, ge=0, le=500)
    """Audio of an item that must be there before it starts, so that an uneven network makes no holes."""
    jitter_ms: int = Field(default=60, ge=0, le=500)
    """How long a gap in the caller's packets waits for the late one before it is concealed."""

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last port, both included."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)


class PerSource(Section):
    """What one address (or one IPv6 /64) may bring, unless its trunk has a limit of its own.

    Default: as much as all together, because beside a PBX all calls come from one address.
    """

    calls: int | None = Field(default=None, ge=1)
    calls_per_second: float | None = Field(default=None, gt=0)


class Limits(Section):
    """What the service takes on."""

    calls: int = Field(default=200, ge=1)
    calls_per_second: float = Field(default=50, gt=0)
    per_source: PerSource = PerSource()
    late_ms: float = Field(default=5, ge=0, le=100)
    """A round of the pacer that begins so late is late; with too many of them, or the core full, no call is let in.

    The default is a quarter of a packet: what a phone's jitter buffer does not notice. 0: never.
    """
    minutes: float = Field(default=60, gt=0)
    """The longest call."""
    session_timeout_s: float = Field(default=8, gt=0, le=60)
    """How long the phone may ring while the session is opened; then the caller gets a 503."""
    drain_s: float = Field(default=30, ge=0)
    """After SIGTERM: how long running calls may go on."""
    spend: Spend = Spend()


class Http(Section):
    """Metrics and health."""

    listen: str = "127.0.0.1:8080"

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) <= 65535):
            raise ValueError("write it as HOST:PORT, for example 127.0.0.1:8080")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Log(Section):
    """What the log tells."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` writes text to a terminal and JSON to anything else."""
    callers: bool = False
    """Write callers' numbers."""
    transcripts: bool = False
    """Write what caller and agent say."""


class Transcripts(Section):
    """What was said, kept as one JSON file per call."""

    folder: WritableFolder | None = None
    """Default: nothing is kept."""
