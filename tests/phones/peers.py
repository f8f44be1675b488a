"""Where the big peers are: installed, or unpacked into .cache/peers by scripts/peers."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_UNPACKED = Path(__file__).parents[2] / ".cache" / "peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program: how it is started, and the root of the tree that its modules and data lie in."""

    command: tuple[str, ...]
    root: Path

    @classmethod
    def unpacked(cls, folder: str, program: str) -> Self | None:
        """A program of one of the unpacked trees; None where there is no such tree."""
        root = _UNPACKED / folder
        there = (root / ".ready").exists() and (root / program).exists()
        return cls((str(root / "run"), program), root) if there else None

    @classmethod
    def installed(cls, name: str) -> Self | None:
        """A program of this machine's own."""
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        return cls((path,), Path("/")) if path else None


def asterisk() -> Peer | None:
    return Peer.unpacked("asterisk", "usr/sbin/asterisk")


def kamailio() -> Peer | None:
    return Peer.unpacked("kamailio", "usr/sbin/kamailio")


def new_sipp() -> Peer | None:
    """SIPp 3.8, which has TLS and SRTP; Debian 12's own has neither."""
    return Peer.unpacked("asterisk", "usr/bin/sipp")
