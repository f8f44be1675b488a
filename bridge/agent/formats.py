"""The three audio formats of a session and their arithmetic."""

from enum import Enum

from bridge.audio.g711 import Law, decode, encode


class AudioFormat(Enum):
    """One wire format. G.711 has 8 bytes a ms; PCM is 16 bit little endian, 24 kHz, mono: 48 bytes a ms."""

    PCM = "audio/pcm"
    PCMU = "audio/pcmu"
    PCMA = "audio/pcma"

    @property
    def law(self) -> Law | None:
        """The G.711 law; None for PCM."""
        return _LAWS.get(self)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return 24000 if self is AudioFormat.PCM else 8000

    @property
    def sample_bytes(self) -> int:
        return 2 if self is AudioFormat.PCM else 1

    @property
    def bytes_per_ms(self) -> int:
        return 48 if self is AudioFormat.PCM else 8

    def silence(self, ms: int) -> bytes:
        law = self.law
        return bytes(48 * ms) if law is None else bytes([law.silence]) * (8 * ms)

    def to_pcm(self, data: bytes) -> bytes:
        """16 bit PCM at `rate` from wire bytes; half a sample at the end is dropped."""
        law = self.law
        if law is None:
            return data if len(data) % 2 == 0 else data[:-1]
        return decode(data, law)

    def from_pcm(self, pcm: bytes) -> bytes:
        """Wire bytes from 16 bit PCM at `rate`."""
        law = self.law
        return pcm if law is None else encode(pcm, law)

    def wire(self) -> dict[str, object]:
        """The `format` object: only PCM carries a rate."""
        return {"type": self.value, "rate": 24000} if self is AudioFormat.PCM else {"type": self.value}


_LAWS = {AudioFormat.PCMU: Law.PCMU, AudioFormat.PCMA: Law.PCMA}
