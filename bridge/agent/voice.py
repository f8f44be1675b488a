"""Text to audio by a child process. espeak-ng is loaded there and only there."""

from importlib.util import find_spec

from bridge.agent.orders import Speak
from bridge.agent.worker import Pool

TIMEOUT_S = 10.0
# A minute of speech; a longer text is cut at the child's side.
MAX_CHARS = 4000


class ExtraMissing(RuntimeError):
    """The packages of the built-in agent are not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"The built-in agent needs '{package}', which is not installed: pip install 'sipbridge[agent]'"
        )


def require_extra(*packages: str) -> None:
    """Raises ExtraMissing for the first package that is not there."""
    for package in packages:
        if find_spec(package) is None:
            raise ExtraMissing(package)


class Voice:
    """Speaks with one of a few voice workers."""

    def __init__(self, workers: int = 1, module: str = "bridge.agent.voice_worker") -> None:
        require_extra("espeakng_loader", "soxr")
        self.pool = Pool(module, workers, TIMEOUT_S)

    async def speak(self, work: Speak) -> bytes | None:
        """Wire bytes in the format that was asked for; None when the voice failed."""
        request = {
            "text": work.text[:MAX_CHARS],
            "format": work.format.value,
            "voice": work.voice,
            "speed": work.speed,
        }
        answer = await self.pool.ask(request)
        return None if answer is None else answer[1]
