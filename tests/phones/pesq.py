"""How good speech still is after a call: ITU-T P.862 (PESQ, narrow band), as a listener's mark from 1 to 4.55.

The measure is the package `pesq`, which needs a C compiler to install: it is optional, and runs in an interpreter that
has it, ours or that of `.cache/pesq`. Knows nothing of `bridge`.
"""

import functools
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

RATE = 8000
_OWN = Path(__file__).parents[2] / ".cache" / "pesq" / "bin" / "python"
_QUIET = 16
"""Samples up to this amplitude are silence."""
_MARGIN = RATE // 4


@functools.cache
def _interpreter() -> str:
    """One that has the package and numpy; empty when none has."""
    for path in (sys.executable, str(_OWN)):
        if not Path(path).exists():
            continue
        tried = subprocess.run([path, "-I", "-c", "import numpy, pesq"], capture_output=True, timeout=60, check=False)
        if tried.returncode == 0:
            return path
    return ""


def missing() -> str:
    """Why there is no measure here; empty when there is."""
    return "" if _interpreter() else "the package pesq is not installed, neither here nor in .cache/pesq"


def score(said: bytes, heard: bytes) -> float:
    """The mark (P.862.1, MOS-LQO) of 16-bit PCM at 8000 Hz against the original; silence around both is cut off.

    RuntimeError when the measure finds no speech or is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("said", "heard")]
        for path, pcm in zip(paths, (said, heard), strict=True):
            path.write_bytes(trimmed(pcm))
        # Isolated, so that `pesq` is the package and not this file.
        command = [_interpreter() or sys.executable, "-I", __file__, *map(str, paths)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if told.returncode:
        raise RuntimeError(told.stderr.strip()[-500:])
    return float(told.stdout)


def trimmed(pcm: bytes) -> bytes:
    """Without silence at both ends but a quarter of a second."""
    samples = array("h", pcm)
    loud = [place for place, sample in enumerate(samples) if abs(sample) > _QUIET]
    if not loud:
        return bytes(2 * _MARGIN)
    silence = array("h", bytes(2 * _MARGIN))
    return (silence + samples[loud[0] : loud[-1] + 1] + silence).tobytes()


def main() -> None:
    """Print the mark of one file of samples against another."""
    import numpy
    import pesq

    said, heard = (numpy.frombuffer(Path(path).read_bytes(), "<i2") for path in sys.argv[1:3])
    print(pesq.pesq(RATE, said, heard, "nb"))


if __name__ == "__main__":
    main()
