"""The caller's audio that no item has yet, and the clock of all audio that was ever appended."""

from bridge.agent.formats import AudioFormat

# What one client can make the server keep; older audio is forgotten.
MAX_BYTES = 16 << 20
MIN_COMMIT_MS = 100


class InputBuffer:
    """Wire bytes by their place on the session's audio clock (ms since the first append)."""

    def __init__(self, form: AudioFormat) -> None:
        self.format = form
        self._data = bytearray()
        self._begin_bytes = 0
        self._origin_ms = 0

    @property
    def end_ms(self) -> int:
        """The audio clock: ms appended in this session."""
        return self._origin_ms + (self._begin_bytes + len(self._data)) // self.format.bytes_per_ms

    @property
    def held_ms(self) -> float:
        """ms of audio in the buffer."""
        return len(self._data) / self.format.bytes_per_ms

    def change_format(self, form: AudioFormat) -> None:
        """Go on in another format: what is held is dropped, the clock goes on."""
        if form is not self.format:
            self._origin_ms, self._begin_bytes = self.end_ms, 0
            self._data.clear()
            self.format = form

    def append(self, data: bytes) -> None:
        self._data += data
        self._forget(len(self._data) - MAX_BYTES)

    def take(self, from_ms: int) -> bytes:
        """All audio from `from_ms` on; the buffer is empty afterwards."""
        skip = max(0, (from_ms - self._origin_ms) * self.format.bytes_per_ms - self._begin_bytes)
        audio = bytes(memoryview(self._data)[skip:])
        self._forget(len(self._data))
        return audio

    def take_all(self) -> bytes:
        return self.take(self._origin_ms)

    def keep_last(self, ms: int) -> None:
        """Forget all but the last `ms`."""
        self._forget(len(self._data) - ms * self.format.bytes_per_ms)

    def _forget(self, count: int) -> None:
        if count > 0:
            self._begin_bytes += count
            del self._data[:count]
