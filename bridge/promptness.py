"""How long a caller waits for an answer, and on whom: from the end of his speech to the first packet of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from bridge.config import OwnTurns, SemanticVad, ServerVad
from bridge.realtime import events as ev

Told = Callable[[str, float], None]
"""(stage, seconds)."""


class Promptness:
    """The turns of one call, in four stages, each told when it is over.

    `vad`: the caller falls silent, until the service has noticed. `commit`: until his turn is complete. `first_delta`:
    until the first audio of the answer is here. `first_rtp`: until its first packet has left.
    """

    def __init__(
        self,
        told: Told,
        detection: ServerVad | SemanticVad | OwnTurns | None,
        heard_ms: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heard_ms` is what the session has got of the caller so far, by its own clock."""
        self._told = told
        self._silence_ms = detection.silence_duration_ms if isinstance(detection, ServerVad | OwnTurns) else 0
        self._heard_ms = heard_ms
        self._clock = clock
        self._due = ""  # the stage that runs
        self._since = 0.0

    def stopped(self, speech: ev.SpeechStopped) -> None:
        """The service has noticed that the caller is silent; its time includes the silence that it waited for."""
        silent_ms = self._heard_ms() - (speech.audio_end_ms - self._silence_ms)
        self._told("vad", max(0.0, silent_ms / 1000))
        self._begin("commit")

    def committed(self) -> None:
        """His turn is complete."""
        self._end("commit", "first_delta")

    def audio_came(self) -> None:
        """Audio of the agent is here: the hot path, where mostly nothing is due."""
        if self._due:
            if self._due == "commit":  # a service that commits nothing, or says so later
                self._due = "first_delta"
            self._end("first_delta", "first_rtp")

    def packet_left(self) -> None:
        """The first packet after silence has left."""
        self._end("first_rtp", "")

    def forget(self) -> None:
        """The caller speaks again, or nobody answers him: there is nothing to measure."""
        self._due = ""

    def _begin(self, stage: str) -> None:
        self._due, self._since = stage, self._clock()

    def _end(self, stage: str, following: str) -> None:
        if self._due == stage:
            now = self._clock()
            self._told(stage, now - self._since)
            self._due, self._since = following, now
