"""The ears: pocketsphinx with a small grammar, in a process of its own (`python -m bridge.agent.ears_worker`)."""

from typing import Any

import numpy
from pocketsphinx import Config, Decoder

from bridge.agent.formats import AudioFormat
from bridge.agent.worker_loop import serve
from bridge.audio.resample import Resampler

MODEL_RATE = 16000

# The model was made from wideband speech of normal loudness: a line is brought to one level, and a little noise
# fills what the telephone leaves empty (digital silence and everything above 4 kHz).
_LEVEL = 2000
_NOISE = 60

GRAMMAR = """#JSGF V1.0;
grammar agent;
public <sentence> = <command> [please] | repeat after me <phrase>;
<command> = <time> | <date> | <joke> | <story> | <bye> | <help> | <greeting> | <thanks> | <transfer>;
<tell> = tell me | can you tell me | could you tell me | please tell me;
<time> = what time is it [now] | what is the time | what's the time | <tell> the time | <tell> what time it is;
<date> = what day is it [today] | what is the date [today] | what's the date [today] | <tell> the date
       | what is today's date | what's today's date;
<joke> = [<tell>] ( a | another ) joke | do you know a joke;
<story> = [<tell>] ( a | another ) story | tell me a long story;
<bye> = goodbye | good bye | bye bye | bye | hang up | that is all | thank you goodbye | thanks bye;
<help> = help | help me | i need help | what can you do | who are you;
<greeting> = hello | hello there | hi | good morning | good evening | how are you;
<thanks> = thank you | thanks | thank you very much;
<transfer> = connect me to an operator | talk to an operator | operator | transfer me;
<phrase> = <digit>+ | hello [world | there] | good ( morning | evening | night | day | bye )
         | [the] weather is ( nice | good | bad | sunny ) [today] | <thing> | <thing> <thing>
         | i ( like | love ) <thing>;
<thing> = [the | a | my | <digit>] [<colour>] <noun>;
<digit> = zero | one | two | three | four | five | six | seven | eight | nine | ten;
<colour> = red | green | blue | yellow | black | white | big | small;
<noun> = cat | cats | dog | dogs | bird | birds | house | telephone | coffee | water | apple | apples
       | banana | bananas | flower | flowers;
"""


class Recognizer:
    """One loaded decoder. Wide beams: the grammar is small, and a telephone's speech strays far."""

    def __init__(self) -> None:
        # bestpath searches a lattice that this grammar makes huge; it takes minutes and changes little.
        self._decoder = Decoder(
            Config(
                lm=None,
                loglevel="FATAL",
                bestpath=False,
                beam=1e-90,
                wbeam=1e-70,
                pbeam=1e-90,
                wip=0.05,
            )
        )
        self._decoder.add_jsgf_string("agent", GRAMMAR)
        self._decoder.activate_search("agent")
        self._noise = numpy.random.default_rng(1)

    def words(self, pcm: bytes) -> str:
        """The sentence in 16 bit PCM of 16 kHz; empty when none of the grammar fits."""
        self._decoder.start_utt()
        self._decoder.process_raw(self._prepared(pcm), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return "" if found is None else str(found.hypstr).replace("good bye", "goodbye")

    def _prepared(self, pcm: bytes) -> bytes:
        samples = numpy.frombuffer(pcm, dtype="<i2").astype(float)
        samples *= _LEVEL / max(1.0, float(numpy.sqrt(numpy.mean(samples**2))))
        samples += self._noise.normal(0, _NOISE, len(samples))
        return bytes(samples.clip(-32768, 32767).astype("<i2").tobytes())


def main() -> None:
    recognizer = Recognizer()

    def answer(header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        form = AudioFormat(header["format"])
        pcm = Resampler(form.rate, MODEL_RATE).process(form.to_pcm(payload), last=True)
        return {"words": recognizer.words(pcm) if pcm else ""}, b""

    serve(answer)


if __name__ == "__main__":
    main()
