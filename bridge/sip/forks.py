"""The far ends that one INVITE of ours reaches: early dialogs and 2xx answers of a fork (RFC 3261 section 13.2)."""

from __future__ import annotations

from dataclasses import dataclass

from .dialog import Dialog
from .errors import SipError
from .message import Request, Response
from .sdp import SessionDescription

MAX_FORKS = 16
"""Far ends of one call; a fork has a few, only a flood has more."""


@dataclass(slots=True)
class Branch:
    """One far end that rings.

    `dialog` is None while its answers name no Contact, `description` before it has sent one; `answered` tells that
    a reliable answer has brought that, which ends our offer (RFC 3262 section 5).
    """

    dialog: Dialog | None = None
    description: SessionDescription | None = None
    answered: bool = False


class Forks:
    """Who answered an INVITE of ours, by To tag."""

    def __init__(self) -> None:
        self._branches: dict[str, Branch] = {}
        self._accepted: set[str] = set()

    def __bool__(self) -> bool:
        """Whether anybody rings in a dialog."""
        return any(branch.dialog is not None for branch in self._branches.values())

    def clear(self) -> None:
        """Another INVITE goes out: whoever the last one reached is gone."""
        self._branches.clear()

    def progress(self, invite: Request, response: Response) -> Branch:
        """A provisional answer: the far end it is from, one that is not kept when there are too many."""
        tag = response.to.tag or ""
        branch = self._branches.get(tag) or Branch()
        if len(self._branches) < MAX_FORKS:
            self._branches[tag] = branch
        if branch.dialog is None and tag and tag in self._branches:
            branch.dialog = _early(invite, response)
        return branch

    def find(self, tag: str) -> Branch | None:
        """Who rings with this tag; None for nobody."""
        return self._branches.get(tag)

    def hung_up(self, tag: str) -> None:
        """One of them has hung up while it rang."""
        self._branches.pop(tag, None)

    def accept(self, invite: Request, response: Response) -> tuple[Dialog, bool]:
        """A 2xx: its dialog, and whether that is new. SipError when there can be no dialog, or there are too many."""
        dialog = Dialog.uac(invite, response)
        tag = dialog.remote_tag
        branch = self._branches.get(tag)
        if branch is not None and branch.dialog is not None:
            # What was sent inside it counts on; its target and route set are now final.
            dialog.local_cseq, dialog.remote_cseq = branch.dialog.local_cseq, branch.dialog.remote_cseq
        new = tag not in self._accepted
        if new and len(self._accepted) >= MAX_FORKS:
            raise SipError(482, reason="forks")
        self._accepted.add(tag)
        return dialog, new


def _early(invite: Request, response: Response) -> Dialog | None:
    try:
        return Dialog.uac(invite, response)
    except SipError:
        return None
