"""What a call is made of, and how a part knows the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from .session import Session


class Part:
    """A part of one call, which owns it.

    It does not own the call in turn: so a call that has ended is freed with the last transaction that knows it, and
    not when the collector of cycles comes by.
    """

    def __init__(self, session: Session) -> None:
        self._whole = ref(session)

    @property
    def _session(self) -> Session:
        """The call; there as long as anybody can ask its part for anything."""
        session = self._whole()
        assert session is not None
        return session
