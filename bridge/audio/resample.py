"""Sample rate conversion by soxr: a real filter, because plain interpolation aliases."""

from typing import Any


class Resampler:
    """Converts one mono stream between two rates, block by block, without seams between the blocks.

    soxr is imported on first use of two different rates; without it RuntimeError names the extra to install.
    """

    __slots__ = ("_stream", "rate_in", "rate_out")

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise ValueError(f"sample rates must be positive, not {rate_in} and {rate_out} Hz")
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._stream: Any = None if rate_in == rate_out else _open_stream(rate_in, rate_out)

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """Convert 16-bit little-endian PCM.

        The filter keeps a few ms back until `last`, after which the resampler starts over as if new.
        ValueError on an odd number of bytes.
        """
        if len(pcm) % 2:
            raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples")
        if self._stream is None:
            return pcm
        import numpy

        out = self._stream.resample_chunk(numpy.frombuffer(pcm, dtype="<i2"), last=last)
        if last:
            self._stream.clear()
        return bytes(out.astype("<i2", copy=False).tobytes())


def _open_stream(rate_in: int, rate_out: int) -> Any:
    try:
        import soxr
    except ImportError as error:
        raise RuntimeError(
            f"converting {rate_in} Hz to {rate_out} Hz needs soxr: pip install sipbridge[agent]"
        ) from error
    return soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16", quality="HQ")
