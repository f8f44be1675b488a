"""The voice: espeak-ng by ctypes, in a process of its own (`python -m bridge.agent.voice_worker`).

espeak-ng is licensed under the GPL 3.0; no other module loads it. API: speak_lib.h of espeak-ng 1.5x.
"""

import ctypes
from typing import Any

import espeakng_loader

from bridge.agent.formats import AudioFormat
from bridge.agent.worker_loop import serve
from bridge.audio.resample import Resampler

_SYNCHRONOUS = 2
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE = 1
_WORDS_PER_MINUTE = 150

# The voices of the service and what comes near: deep, high, British.
_VOICES = {
    "ash": "en-us+m3",
    "ballad": "en-gb+m1",
    "cedar": "en-us+m2",
    "echo": "en-us+m4",
    "verse": "en-gb",
    "coral": "en-us+f2",
    "sage": "en-gb+f2",
    "shimmer": "en-us+f4",
}
_OWN = "espeak:"
"""Before a voice of espeak-ng itself, such as `de`."""
_DEFAULT = "en-us"
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """One loaded espeak-ng. Gives 16 bit PCM at `rate` Hz."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._pcm = bytearray()
        data = espeakng_loader.get_data_path().encode()
        self.rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0))
        if self.rate <= 0:
            raise RuntimeError("espeak-ng does not start")
        # The library calls it as long as it lives: it must not be collected.
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: str = "alloy", speed: float = 1.0) -> bytes:
        """The whole text, spoken; `speed` 1.0 is 150 words a minute."""
        self._pcm.clear()
        named = voice.removeprefix(_OWN) if voice.startswith(_OWN) else _VOICES.get(voice, _DEFAULT)
        # The library says 0 when it has such a voice; of de-at it knows only de.
        for name in (named, named.partition("-")[0], _DEFAULT):
            if self._library.espeak_SetVoiceByName(name.encode()) == 0:
                break
        self._library.espeak_SetParameter(_RATE, int(_WORDS_PER_MINUTE * speed), 0)
        data = text.replace("\0", " ").encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        return bytes(self._pcm)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._pcm += ctypes.string_at(samples, count * 2)
        return 0


def main() -> None:
    espeak = Espeak()

    def answer(header: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        form = AudioFormat(header["format"])
        pcm = espeak.say(header["text"], header["voice"], header["speed"])
        return {}, form.from_pcm(Resampler(espeak.rate, form.rate).process(pcm, last=True))

    serve(answer)


if __name__ == "__main__":
    main()
