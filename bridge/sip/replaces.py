"""Replaces: a new call that takes the place of one that stands (RFC 3891)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from .errors import malformed
from .grammar import Parameters, is_token, parse_parameters
from .message import Request

OPTION = "replaces"
"""The option tag for Supported and Require."""

_FORM = re.compile(r"\s*([!-+\--:<-~]+)\s*;([^,]*)\Z")
_URI_SAFE = "[]/?:+$-_.!~*'()"
_NO_TAG = ("", "0")


@dataclass(frozen=True, slots=True)
class Replaces:
    """Which dialog to replace, named as its receiver sees it: `to_tag` is the receiver's own tag."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        flag = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{flag}"

    @property
    def escaped(self) -> str:
        """The value for a header inside a URI, as in Refer-To."""
        return quote(str(self), safe=_URI_SAFE)

    @classmethod
    def at_peer(cls, call_id: str, *, local_tag: str, remote_tag: str) -> Replaces:
        """The name of a dialog of ours as its peer knows it: what to tell whoever shall take our place."""
        return cls(call_id, remote_tag, local_tag)

    @classmethod
    def parse(cls, text: str) -> Replaces:
        """Read `call-id;to-tag=a;from-tag=b`; SipError 400 for anything else, several values included."""
        match = _FORM.match(text)
        if match is None:
            raise malformed("Malformed Replaces")
        parameters = parse_parameters(match[2].split(";"), "Replaces")
        early = any(name == "early-only" for name, _ in parameters)
        return cls(match[1], _tag(parameters, "to-tag"), _tag(parameters, "from-tag"), early)

    @classmethod
    def of(cls, request: Request) -> Replaces | None:
        """The Replaces of a request; None when it has none.

        SipError 400 when it is malformed, there are several, or the request is no INVITE (section 3).
        """
        values = [line.value for line in request.lines.lines("Replaces")]
        if not values:
            return None
        if len(values) > 1 or request.method != "INVITE":
            raise malformed("Unexpected Replaces")
        return cls.parse(values[0])

    def matches(self, call_id: str, local_tag: str, remote_tag: str) -> bool:
        """Whether this names the dialog that we know by these values (section 3).

        A tag of "0" stands for none, as peers older than RFC 3261 have none.
        """
        return self.call_id == call_id and _same(self.to_tag, local_tag) and _same(self.from_tag, remote_tag)


def _tag(parameters: Parameters, name: str) -> str:
    values = [value for key, value in parameters if key == name]
    if len(values) != 1 or not values[0] or not is_token(values[0]):
        raise malformed("Malformed Replaces")
    return values[0]


def _same(named: str, known: str) -> bool:
    return named == known or (named in _NO_TAG and known in _NO_TAG)
