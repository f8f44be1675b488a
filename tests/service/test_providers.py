"""Whole calls with each provider: a real service, SIP and RTP on the wire, and the provider's test server behind it.

One service has an agent of each provider, and all are called side by side. What is heard is judged by its samples: the
server says sines, so does the caller, and each must arrive with its pitch, its length to a packet, its loudness and no
hole, whatever was converted on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.phones import wav
from tests.service.calling import Line, call_each
from tests.service.compatible import Compatible, Kind
from tests.service.far import Far
from tests.service.foreign import ElevenLabs, Gemini, Live
from tests.service.sines import Sound, loud_after, sine, sounds
from tests.tools.application import Application, json_answer
from tests.tools.wooden import own

pytestmark = pytest.mark.interop  # too many whole calls for each run of the quick tests

Fars = dict[str, Callable[[], Far]]
FARS: Fars = {
    "live": Live,
    "gemini": Gemini,
    "gemini-25": lambda: Gemini("gemini-2.5-flash-native-audio-preview-12-2025"),
    "elevenlabs-public": lambda: ElevenLabs(private=False),
    "elevenlabs-private": lambda: ElevenLabs(private=True, audio="pcm_16000"),
    "xai": lambda: Compatible(Kind("xai"), "xai"),
    "speaches": lambda: Compatible(Kind("beta", cancels=False, names_formats=False), "speaches"),
    "localai": lambda: Compatible(Kind("ga"), "localai"),
    "hf": lambda: Compatible(Kind("ga"), "hf"),
    "beta": lambda: Compatible(Kind("beta", truncates=True), dialect="beta"),
}
TELLING: Fars = {name: far for name, far in FARS.items() if name != "live"}
"""Those that tell when the caller interrupts."""
OTHER_FORMATS: Fars = {
    "refuses-g711": lambda: Compatible(Kind("ga", truncates=True, refuses_g711=True)),
    "refuses-g711-beta": lambda: Compatible(Kind("beta", truncates=True, refuses_g711=True), dialect="beta"),
    "speaks-pcm": lambda: Compatible(Kind("ga", truncates=True, speaks="audio/pcm")),
    "speaks-alaw": lambda: Compatible(Kind("ga", truncates=True, speaks="audio/pcma")),
    "xai-speaks-pcm": lambda: Compatible(Kind("xai", speaks="audio/pcm"), "xai"),
}
"""Servers that do not speak the G.711 they are asked for."""
STORY = "A long story of a man, his dog, and a bicycle that nobody has ever found again, wherever they looked."
PRICES: dict[str, Any] = {
    "models": {"*": {"text_in": 1, "text_cached": 1, "text_out": 1, "audio_out": 1, "minute": 60}}
}


async def test_each_hears_the_other_as_he_speaks(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        far = line.far
        await far.say("Good morning.", 600, 1000)
        assert line.has_said(await line.has_heard(1), 600, 1000), line.heard()
        await line.speak(440, 1000)
        await far.hear("Is my bike ready?")
        await far.say("It is.", 900, 500)
        assert line.has_said(await line.has_heard(2), 900, 500), line.heard()
        await line.hang_up()
        came = sounds(far.pcm(), far.rate)
        assert len(came) == 1 and came[0].is_like(440, 1000), came
        (told,) = line.events("call.transcript")
        entries = [entry.partition(" ")[2] for entry in told["lines"]]
        assert entries == ["agent: Good morning.", "caller: Is my bike ready?", "agent: It is."]
        assert line.record.get("tokens", {}) == far.tokens

    lines, metrics = await call_each(tmp_path, FARS, story, log={"transcripts": True}, prices=PRICES)
    for kind in ("text_in", "audio_out"):
        used = sum(line.far.tokens.get(kind, 0) for line in lines.values())
        assert metrics[f'sipbridge_tokens_total{{kind="{kind}"}}'] == used > 0
    live = lines["live"].far
    assert isinstance(live, Live)
    lasted_s = live.session.clock_ms / 1000  # of which each costs one
    assert abs(metrics['sipbridge_cost_total{agent="live"}'] - lasted_s) < 0.1
    assert metrics["sipbridge_unpriced_usages_total"] == 0


async def both_are_heard(line: Line) -> None:
    await line.far.say("Good morning.", 600, 1000)
    assert line.has_said(await line.has_heard(1), 600, 1000), line.heard()
    await line.speak(440, 1000)
    await line.hang_up()
    came = sounds(line.far.pcm(), line.far.rate)
    assert len(came) == 1 and came[0].is_like(440, 1000), came


async def test_callers_of_the_a_law_are_heard_as_well(tmp_path: Path) -> None:
    await call_each(tmp_path, FARS, both_are_heard, law="PCMA")


async def test_where_g711_is_not_spoken_the_call_goes_on_in_pcm_and_says_so(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        await both_are_heard(line)
        assert isinstance(line.far, Compatible) and line.far.session.format == "audio/pcm"
        (told,) = line.events("session.format_fallback")
        assert "audio/pcmu" in told["reason"] and told["advice"]

    _, metrics = await call_each(tmp_path, OTHER_FORMATS, story)
    counted = [value for name, value in metrics.items() if name.startswith("sipbridge_session_fallbacks_total")]
    assert sum(counted) == len(OTHER_FORMATS)


async def test_an_interruption_is_silence_at_once_and_what_comes_late_is_never_heard(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        far = line.far
        await far.say(STORY, 600, 4000, whole=False)
        await line.hears_something(25)
        told_ns = await far.interrupt("Stop.")
        await far.late(1500, 500)
        cut = await line.has_heard(1)
        assert loud_after(line.phone.wire.packets, told_ns) <= 2, "one on its way, and one more"
        assert abs(cut.hz - 600) < 5 and cut.ms < 3000 and cut.holes_ms == 0, cut
        await far.say("Yes?", 900, 400)
        assert line.has_said(await line.has_heard(2), 900, 400), line.heard()
        await line.hang_up()
        assert line.record["barge_ins"] == 1
        if isinstance(far, Compatible):
            assert what_was_heard(far, cut) == HOW_IT_IS_TOLD[line.name]

    _, metrics = await call_each(tmp_path, TELLING, story)
    assert metrics["sipbridge_late_deltas_total"] >= len(TELLING)


HOW_IT_IS_TOLD = {
    "beta": ["truncate"],
    "hf": ["note"],
    "localai": ["item", "delete"],
    "speaches": [],
    "xai": [],
}


def what_was_heard(far: Compatible, cut: Sound) -> list[str]:
    """How a server was told what was heard of the answer that was cut."""
    ways = []
    for event in far.session.received:
        match event["type"].removeprefix("conversation.item."):
            case "truncate":
                assert abs(event["audio_end_ms"] - cut.ms) <= 20, (event, cut)
                ways.append("truncate")
            case "delete":
                ways.append("delete")
            case "create" if event["item"].get("role") == "assistant":
                ways.append("item")
            case "create" if event["item"].get("role") == "system":
                ways.append("note")
    return ways


async def test_an_agent_that_falls_silent_by_itself_is_silent_at_once(tmp_path: Path) -> None:
    """OpenAI Live tells no interruption: it hears the caller and stops, so nothing of it may wait here."""

    async def story(line: Line) -> None:
        assert isinstance(line.far, Live)
        await line.far.say("A long story.", 600, 4000)
        await line.hears_something()
        await line.speak(440, 600)
        stopped_ns = line.far.stopped_ns()
        cut = await line.has_heard(1)
        assert loud_after(line.phone.wire.packets, stopped_ns) <= 15, "300 ms"
        assert cut.ms < 3000
        await line.hang_up()

    await call_each(tmp_path, {"live": Live}, story)


async def test_keys_interrupt_and_are_told(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        far = line.far
        await far.say("A long menu.", 600, 3000, whole=isinstance(far, Live))
        await line.hears_something()
        pressed_ns = time.time_ns()
        await line.press("7", "#")
        await far.asked("7 #")
        cut = await line.has_heard(1, 1000)
        assert loud_after(line.phone.wire.packets, pressed_ns) <= 3, "until the key was there, and one on its way"
        assert abs(cut.hz - 600) < 5 and cut.ms < 2000 and len(line.heard()) == 1, line.heard()
        await line.hang_up()
        assert line.record["barge_ins"] == 1

    _, metrics = await call_each(tmp_path, FARS, story)
    assert metrics["sipbridge_digits_total"] == 2 * len(FARS)


async def test_tools_are_used_and_the_last_word_is_heard(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        far = line.far
        assert await far.call("lookup", city=line.name) == {"celsius": 21}
        await far.say("It is warm. Goodbye.", 700, 1200)
        assert "error" not in await far.call("hang_up")
        await far.says_no_more()
        await line.is_hung_up("agent_hung_up")
        assert line.has_said(line.heard()[-1], 700, 1200), line.heard()

    async with Application(answers=[json_answer({"celsius": 21})]) as app:
        agent = {"tools": ["hang_up", own(url=app.url)]}
        lines, metrics = await call_each(tmp_path, FARS, story, agent=agent, prices=PRICES)
    assert sorted(got.json["arguments"]["city"] for got in app.got) == sorted(FARS)
    assert metrics['sipbridge_tool_calls_total{outcome="ok"}'] == len(FARS)
    tokens = lines["live"].record["tokens"]
    assert all(tokens[kind] >= count for kind, count in lines["live"].far.tokens.items()), tokens


async def test_a_session_that_is_lost_is_followed_by_one_that_knows(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        far = line.far
        await far.say("Welcome at Adler.", 600, 400)
        await line.has_heard(1)
        await line.speak(440, 400)
        await far.hear("My name is Alice.")
        await far.say("Hello Alice.", 700, 400)
        await line.has_heard(2)
        await far.drop()
        await far.sessions(2)
        if not isinstance(far, Gemini):
            for words in ("Welcome at Adler.", "My name is Alice.", "Hello Alice."):
                await far.asked(words)
        await far.until(lambda: line.events("session.back"))
        await far.say("Where were we?", 900, 600)
        await line.hears_something(60)
        await line.has_heard(3)
        await line.speak(500, 600)
        await line.hang_up()
        assert any(line.has_said(sound, 900, 600) for sound in line.heard()), line.heard()
        came = sounds(far.pcm(), far.rate)
        assert came and came[-1].is_like(500, 600), came

    lines, metrics = await call_each(tmp_path, FARS, story)
    assert metrics['sipbridge_sessions_resumed_total{outcome="back"}'] == len(FARS)
    live, gemini = lines["live"].far, lines["gemini"].far
    assert isinstance(live, Live) and isinstance(gemini, Gemini)
    assert [message["role"] for message in live.session.config["input"]] == ["assistant", "user", "assistant"]
    assert gemini.talk.setup["sessionResumption"] == {"handle": "handle-1"}
    assert "Alice" not in gemini.told(), "the service has it all"
    assert '"contextual_update"' in lines["elevenlabs-public"].far.told()


async def test_after_a_final_close_plan_b_is_heard(tmp_path: Path) -> None:
    wav.write(tmp_path / "sorry.wav", sine(1200, 800, 16000), 0.8, rate=16000)

    async def story(line: Line) -> None:
        await line.far.say("Hello.", 600, 400)
        await line.has_heard(1)
        await line.far.forsake()
        await line.is_hung_up(line.far.final_reason)
        assert line.far.count() == 1, "no other session was tried"
        assert any(sound.is_like(1200, 800) for sound in line.heard()), line.heard()
        assert line.record["detail"]

    agent = {"plan_b": {"file": str(tmp_path / "sorry.wav")}}
    _, metrics = await call_each(tmp_path, FARS, story, agent=agent)
    assert metrics['sipbridge_plan_b_total{outcome="ended"}'] == len(FARS)
