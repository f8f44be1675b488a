"""Session descriptions (RFC 4566): reading, writing, nothing decided."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import SipError

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
STATIC = {"0": ("PCMU", 8000), "8": ("PCMA", 8000), "9": ("G722", 8000)}
"""Payload types that need no rtpmap (RFC 3551): name and clock rate in Hz."""

MAX_STREAMS = 32
MAX_FORMATS = 128
"""Of one m= line: more than there are payload types is no offer."""
MAX_LINES = 2000
"""A browser's offer has some 200."""

_LINE = re.compile(r"([a-z])=(.*)\Z", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_RTPMAP = re.compile(r"(\d{1,3})\s+([^\s/]+)/(\d{1,6})(?:/\d+)?\s*\Z")


def _malformed(what: str) -> SipError:
    return SipError(400, f"Malformed SDP: {what}", reason="malformed_sdp")


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line: who made the session and which version of it this is."""

    username: str
    session_id: str
    version: str
    address: str
    family: str = "IP4"

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} IN {self.family} {self.address}"

    @classmethod
    def parse(cls, text: str) -> Origin:
        fields = text.split()
        if len(fields) != 6:
            raise _malformed("o=")
        username, session_id, version, _, family, address = fields
        return cls(username, session_id, version, address, family)


@dataclass(frozen=True, slots=True)
class Connection:
    """A c= line; `host` is a literal or a name, without the TTL of multicast."""

    host: str
    family: str = "IP4"

    def __str__(self) -> str:
        return f"IN {self.family} {self.host}"

    @classmethod
    def of(cls, host: str) -> Connection:
        """The connection of an address of ours."""
        return cls(host, "IP6" if ":" in host else "IP4")

    @classmethod
    def parse(cls, text: str) -> Connection:
        fields = text.split()
        if len(fields) != 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
            raise _malformed("c=")
        return cls(fields[2].partition("/")[0], fields[1])


_OTHERS = "iuepbrzk"
"""Letters of lines that are only kept, in the order of RFC 4566."""

Attribute = tuple[str, str | None]
"""Name and value of an a= line; None when there is no colon."""


@dataclass(frozen=True, slots=True)
class Media:
    """One m= section. `others` are lines that mean nothing here (i=, b=, k=), kept as they came.

    Attributes may hold keys (a=crypto, k=): they are not in the repr, which may end in a log.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: Connection | None = None
    attributes: tuple[Attribute, ...] = field(default=(), repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)
    port_count: int | None = None

    @property
    def direction(self) -> str | None:
        """sendrecv, sendonly, recvonly or inactive; None when the section does not say."""
        return _direction(self.attributes)

    def attribute(self, name: str) -> str | None:
        """Value of the first attribute of that name ("" for a flag); None when absent."""
        return next((value or "" for key, value in self.attributes if key == name), None)

    def values(self, name: str) -> list[str]:
        """Values of all attributes of that name, in their order."""
        return [value or "" for key, value in self.attributes if key == name]

    def encodings(self) -> dict[str, tuple[str, int]]:
        """Upper-case encoding name and clock rate in Hz of every format that is known, by payload type."""
        known = dict(STATIC)
        # From the last to the first, because the first line for a payload type counts.
        for value in reversed(self.values("rtpmap")):
            if (match := _RTPMAP.match(value)) is not None:
                known[match[1]] = match[2].upper(), int(match[3])
        return {payload_type: known[payload_type] for payload_type in self.formats if payload_type in known}

    @property
    def declined(self) -> Media:
        """The same section refused: port 0, nothing else said (RFC 3264 section 6). A format must stand there."""
        return Media(self.kind, 0, self.protocol, self.formats or ("0",))

    def lines(self) -> Iterator[str]:
        count = "" if self.port_count is None else f"/{self.port_count}"
        yield " ".join((f"m={self.kind} {self.port}{count} {self.protocol}", *self.formats))
        yield from _ordered(self.others, "i")
        if self.connection is not None:
            yield f"c={self.connection}"
        yield from _ordered(self.others, "bk")
        yield from _attribute_lines(self.attributes)


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description. `others` are session lines that mean nothing here, kept as they came."""

    origin: Origin
    media: tuple[Media, ...] = ()
    connection: Connection | None = None
    name: str = "-"
    times: tuple[str, ...] = ("0 0",)
    attributes: tuple[Attribute, ...] = field(default=(), repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return "".join(f"{line}\r\n" for line in self._lines())

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")

    def _lines(self) -> Iterator[str]:
        yield "v=0"
        yield f"o={self.origin}"
        yield f"s={self.name}"
        yield from _ordered(self.others, "iuep")
        if self.connection is not None:
            yield f"c={self.connection}"
        yield from _ordered(self.others, "b")
        yield from (f"t={time}" for time in self.times)
        yield from _ordered(self.others, "rzk")
        yield from _attribute_lines(self.attributes)
        for media in self.media:
            yield from media.lines()

    def connection_of(self, media: Media) -> Connection | None:
        """Where this stream is received: its own c=, else that of the session; None when neither is."""
        return media.connection or self.connection

    def direction_of(self, media: Media) -> str:
        """The stream's direction, else the session's, else sendrecv."""
        return media.direction or _direction(self.attributes) or "sendrecv"

    @classmethod
    def parse(cls, data: bytes) -> SessionDescription:
        """Read a description; SipError 400 "Malformed SDP: ..." when it is none."""
        lines = _split(data)
        if not lines or lines[0] != ("v", "0"):
            raise _malformed("v=")
        starts = [index for index, (letter, _) in enumerate(lines) if letter == "m"]
        if len(starts) > MAX_STREAMS:
            raise _malformed("too many m=")
        session = _Section()
        for letter, value in lines[1 : starts[0] if starts else None]:
            session.take(letter, value)
        if session.origin is None:
            raise _malformed("o= is missing")
        ends = [*starts[1:], len(lines)]
        media = tuple(_parse_media(lines[start:end]) for start, end in zip(starts, ends, strict=False))
        return cls(
            session.origin,
            media,
            session.connection,
            session.name,
            tuple(session.times),
            tuple(session.attributes),
            session.kept,
        )


@dataclass(slots=True)
class _Section:
    """The lines of one section, sorted while they are read."""

    origin: Origin | None = None
    name: str = "-"
    connection: Connection | None = None
    times: list[str] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(sorted(self.others, key=lambda line: _OTHERS.index(line[0])))

    def take(self, letter: str, value: str) -> None:
        if letter == "o":
            self.origin = Origin.parse(value)
        elif letter == "s":
            self.name = value
        elif letter == "c":
            # Only multicast in layers has several (RFC 4566 section 5.7): the first is the base.
            connection = Connection.parse(value)
            self.connection = self.connection or connection
        elif letter == "t":
            self.times.append(value)
        elif letter == "a":
            name, colon, text = value.partition(":")
            self.attributes.append((name, text if colon else None))
        elif letter in _OTHERS:
            self.others.append(f"{letter}={value}")
        else:
            raise _malformed(f"{letter}=")


def _split(data: bytes) -> list[tuple[str, str]]:
    text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").rstrip("\n")
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise _malformed("too many lines")
    pairs = []
    for line in lines:
        match = _LINE.match(line)
        if match is None or _CONTROL.search(line):
            raise _malformed("not a line of SDP")
        pairs.append((match[1], match[2]))
    return pairs


def _parse_media(lines: list[tuple[str, str]]) -> Media:
    fields = lines[0][1].split()
    if not 3 <= len(fields) <= 3 + MAX_FORMATS:
        raise _malformed("m=")
    kind, port, protocol, *formats = fields
    port, slash, count = port.partition("/")
    if not formats and port != "0":
        # Only streams that are off are seen without a format.
        raise _malformed("m=")
    section = _Section()
    for letter, value in lines[1:]:
        if letter not in "icbka":
            raise _malformed(f"{letter}= in m=")
        section.take(letter, value)
    return Media(
        kind.lower(),
        _number(port, 65535),
        protocol,
        tuple(formats),
        section.connection,
        tuple(section.attributes),
        section.kept,
        _number(count, 65535) if slash else None,
    )


def _number(text: str, limit: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > limit:
        raise _malformed("m= port")
    return int(text)


def _direction(attributes: tuple[Attribute, ...]) -> str | None:
    return next((name for name, _ in attributes if name in DIRECTIONS), None)


def _ordered(lines: tuple[str, ...], letters: str) -> Iterator[str]:
    for letter in letters:
        yield from (line for line in lines if line[0] == letter)


def _attribute_lines(attributes: tuple[Attribute, ...]) -> Iterator[str]:
    return (f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes)
