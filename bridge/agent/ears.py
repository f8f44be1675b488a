"""Audio to words by a child process (pocketsphinx with a small grammar)."""

from bridge.agent.formats import AudioFormat
from bridge.agent.voice import require_extra
from bridge.agent.worker import Pool

TIMEOUT_S = 20.0
# More is not listened to: no sentence of the grammar is as long.
MAX_SECONDS = 15


class Ears:
    """Understands with one of a few ear workers."""

    def __init__(self, workers: int = 1, module: str = "bridge.agent.ears_worker") -> None:
        require_extra("pocketsphinx", "soxr")
        self.pool = Pool(module, workers, TIMEOUT_S)

    async def listen(self, audio: bytes, form: AudioFormat) -> str | None:
        """The words in lower case; None when nothing was understood or the ears failed."""
        newest = audio[-MAX_SECONDS * 1000 * form.bytes_per_ms :]
        if not newest:
            return None
        answer = await self.pool.ask({"format": form.value}, newest)
        return None if answer is None else str(answer[0].get("words", "")) or None
