"""The caller's turns: what was committed, what is to be forgotten, whose words are still awaited."""

from __future__ import annotations

from collections import deque

from bridge.realtime.bounded import keep_newest

_KEPT = 64


class CallerTurns:
    """The caller's items of one session, the newest 64."""

    def __init__(self) -> None:
        self.speech = 0
        """How often the caller has begun to speak: the number of the present speech."""
        self.transcription_failed = False
        """Whether that was said once."""
        self.own = ""
        """The item of the last turn that the bridge itself has found; empty: it is not known yet."""
        self._asked = 0  # commits of ours that the server has not confirmed
        self._is_own_unwanted = False  # the turn of the last of them was noise
        self._committed: deque[str] = deque(maxlen=_KEPT)
        self._unwanted: deque[str] = deque(maxlen=_KEPT)
        self._awaited: dict[str, None] = {}
        self._told: deque[str] = deque(maxlen=_KEPT)

    def committed(self, item_id: str) -> bool:
        """The turn is in the conversation. False: it is to be forgotten, now that it can be."""
        self._committed.append(item_id)
        if item_id in self._told:
            self._awaited.pop(item_id, None)
        else:
            self._awaited[item_id] = None
            keep_newest(self._awaited, _KEPT)
        if self._asked:
            self._asked -= 1
            self.own = item_id
            if self._is_own_unwanted and not self._asked:
                self._is_own_unwanted = False
                return False
        if item_id not in self._unwanted:
            return True
        self._unwanted.remove(item_id)
        return False

    def asked(self) -> None:
        """The bridge has told the server that the turn is over; its item gets a name."""
        self._asked += 1
        self.own, self._is_own_unwanted = "", False

    def forget(self, item_id: str) -> bool:
        """It was noise. True: it is in the conversation already and can be deleted."""
        if item_id in self._committed:
            return True
        if item_id:
            self._unwanted.append(item_id)
        else:
            self._is_own_unwanted = self._asked > 0
        return False

    def told(self, item_id: str) -> None:
        """Its words are known, or never will be."""
        self._awaited.pop(item_id, None)
        self._told.append(item_id)

    def is_awaited(self, item_id: str) -> bool:
        """Whether its words are still to come."""
        return item_id in self._awaited
