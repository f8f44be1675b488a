"""The pyVoIP phone as a child process of a test."""

import json
import sys
import wave
from pathlib import Path
from typing import Any, Self

from .processes import Program, free_port, free_port_range

_PROGRAM = Path(__file__).with_name("pyvoip_phone.py")


class PyVoip(Program):
    """The child. `with PyVoip.calling(...) as phone: told = await phone.result()`."""

    _seconds: float

    @classmethod
    def calling(
        cls,
        registrar: tuple[str, int],
        folder: Path,
        *,
        number: str = "600",
        samples: bytes = b"",
        seconds: float = 5.0,
        user: str = "pyvoip",
        password: str = "secret",
    ) -> Self:
        """Call `number` for `seconds`; `samples` are 8-bit unsigned at 8000 Hz (silence is 0x80)."""
        folder.mkdir(parents=True, exist_ok=True)
        with wave.open(str(folder / "say.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(8000)
            file.writeframes(samples)
        own = ["--port", str(free_port()), "--media", str(free_port_range(22)), "--user", user, "--password", password]
        files = ["--wav", "say.wav", "--heard", "heard.raw", "--seconds", str(seconds)]
        target = f"{registrar[0]}:{registrar[1]}"
        phone = cls([sys.executable, "-W", "ignore", str(_PROGRAM), target, number, *own, *files], folder)
        phone._seconds = seconds
        return phone

    async def result(self, within: float | None = None) -> dict[str, Any]:
        """What it printed (`registered`, `answered`, `ended_by_far`, `heard_bytes` ...); RuntimeError with its log."""
        await self.ended(self._seconds + 30 if within is None else within)
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if line.startswith("RESULT "):
                return dict(json.loads(line[7:]))
        raise RuntimeError(f"pyVoIP told nothing: {self.said()}")

    def heard(self) -> bytes:
        """The 8-bit unsigned samples it has read, one each 1/8000 s."""
        path = self.folder / "heard.raw"
        return path.read_bytes() if path.exists() else b""
