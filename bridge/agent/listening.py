"""The caller's side of a session: appended audio, turns, commits, transcription, the idle timer."""

from collections.abc import Callable
from typing import Any

from bridge.agent import events
from bridge.agent.configuration import Configuration
from bridge.agent.conversation import Conversation
from bridge.agent.events import Event
from bridge.agent.identifiers import Identifiers
from bridge.agent.input_buffer import MIN_COMMIT_MS, InputBuffer
from bridge.agent.items import Item
from bridge.agent.refusal import Refusal
from bridge.agent.turns import Judge, Started, Stopped, TurnDetector, TurnSettings

# Kept while nobody speaks: enough for the prefix padding and a commit by hand.
_IDLE_MS = 2000


class Listening:
    """Turns audio into user items. `emit` takes its events; `on_started` and `on_turn` tell the session."""

    def __init__(
        self,
        configuration: Configuration,
        conversation: Conversation,
        ids: Identifiers,
        emit: Callable[[Event], None],
        *,
        on_started: Callable[[], None],
        on_turn: Callable[[Item, bool], None],
        detect: bool = True,
        judge: Callable[[int], Judge] | None = None,
    ) -> None:
        self.buffer = InputBuffer(configuration.input_format)
        # Id of the item that is being spoken; None while the caller is silent.
        self.speaking_item: str | None = None
        self._configuration = configuration
        self._conversation = conversation
        self._ids = ids
        self._emit = emit
        self._on_started = on_started
        self._on_turn = on_turn
        self._detect = detect
        # Makes a detector of speech for a rate in Hz; None: loudness alone decides.
        self._make_judge = judge
        self._speech_from_ms = 0
        self._idle_from_ms = 0
        self._detector: TurnDetector | None = None
        self._settings: TurnSettings | None = None
        self.configure()

    def configure(self) -> None:
        """Follow the configuration after a `session.update`."""
        turn_detection = self._configuration.turn_detection
        wanted = TurnSettings.of(turn_detection) if turn_detection and self._detect else None
        same_format = self.buffer.format is self._configuration.input_format
        if wanted == self._settings and same_format:
            return
        self.buffer.change_format(self._configuration.input_format)
        self._settings = wanted
        self.speaking_item = None
        rate = self.buffer.format.rate
        judge = None if self._make_judge is None else self._make_judge(rate)
        self._detector = None if wanted is None else TurnDetector(wanted, rate, self.buffer.end_ms, judge)

    def append(self, audio: bytes) -> None:
        """Audio of the caller, wire bytes."""
        self.buffer.append(audio)
        if self._detector is None:
            if self._configuration.turn_detection is not None and self.speaking_item is None:
                self.buffer.keep_last(_IDLE_MS)
            return
        for change in self._detector.feed(self.buffer.format.to_pcm(audio)):
            if isinstance(change, Started):
                self.speech_started(change.audio_start_ms)
            elif isinstance(change, Stopped):
                self.speech_stopped(change.audio_end_ms)
        if self.speaking_item is None:
            self.buffer.keep_last(self._detector.settings.prefix_padding_ms + _IDLE_MS)

    def speech_started(self, audio_start_ms: int | None = None) -> None:
        """Speech begins now, or began at `audio_start_ms`."""
        start = self.buffer.end_ms if audio_start_ms is None else audio_start_ms
        self.speaking_item = self._ids.make("item")
        self._speech_from_ms = start
        self._emit(events.speech_started(self.speaking_item, start))
        self._on_started()

    def speech_stopped(self, audio_end_ms: int | None = None) -> None:
        """Speech ended: the item is committed and the turn is the agent's."""
        item_id = self.speaking_item or self._ids.make("item")
        end = self.buffer.end_ms if audio_end_ms is None else audio_end_ms
        self._emit(events.speech_stopped(item_id, end))
        self._commit(item_id, self.buffer.take(self._speech_from_ms), automatic=True)

    def commit(self) -> None:
        """`input_audio_buffer.commit`. Raises Refusal when there are less than 100 ms."""
        held = self.buffer.held_ms
        if held < MIN_COMMIT_MS:
            raise Refusal(
                "input_audio_buffer_commit_empty",
                f"The input audio buffer has only {held:.2f}ms of audio; {MIN_COMMIT_MS}ms are needed.",
            )
        self._commit(self.speaking_item or self._ids.make("item"), self.buffer.take_all(), automatic=False)

    def clear(self) -> None:
        """`input_audio_buffer.clear`."""
        self.buffer.keep_last(0)
        self._emit(events.cleared())

    def idle(self) -> None:
        """The idle time is over: what was heard since the last turn is committed as an empty turn."""
        item_id = self._ids.make("item")
        self._emit(events.timeout_triggered(item_id, self._idle_from_ms, self.buffer.end_ms))
        self._commit(item_id, self.buffer.take_all(), automatic=True)

    def _commit(self, item_id: str, audio: bytes, *, automatic: bool) -> None:
        item = Item(item_id, "message", "completed", "user", [{"type": "input_audio", "transcript": None}])
        item.audio = audio
        item.bytes_per_ms = self.buffer.format.bytes_per_ms
        self.speaking_item = None
        self._idle_from_ms = self.buffer.end_ms
        previous = self._conversation.last_id
        self._emit(events.committed(item_id, previous))
        self._conversation.add(item)
        self._emit(events.item("added", item, previous))
        self._emit(events.item("done", item, previous))
        self._on_turn(item, automatic)

    def heard(self, item: Item, transcript: str | None, code: str = "audio_unintelligible") -> list[Event]:
        """The transcription events of an item, if the client wants them: None failed, empty is what noise gets."""
        item.unheard = False
        item.words = transcript
        transcription: dict[str, Any] | None = self._configuration.transcription
        if transcription is None or self._conversation.get(item.id) is None:
            return []
        if transcript is None:
            return [events.transcription_failed(item.id, code)]
        if item.content:
            item.content[0]["transcript"] = transcript
        usage = events.transcription_usage(transcription["model"], len(item.audio) // item.bytes_per_ms, transcript)
        pieces = [events.transcription_delta(item.id, word) for word in _words(transcript)]
        return [*pieces, events.transcription_completed(item.id, transcript, usage)]


def _words(transcript: str) -> list[str]:
    words = transcript.split()
    return words[:1] + [f" {word}" for word in words[1:]]
