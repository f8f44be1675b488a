"""A caller whose agent is lost: what he hears, who gets him, and how the call ends, with a call made of wood."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from structlog.testing import capture_logs

from bridge import plan_b
from bridge.audio.g711 import Law
from bridge.audio.tone import ringing
from bridge.config.plan_b import PlanB as Settings
from bridge.config.plan_b import check_target, short_plan_b
from bridge.legs.leg import LegRefused
from bridge.legs.rtp import nothing
from bridge.plan_b import PlanB, State
from bridge.records import Counts, EndReason
from bridge.sip.uri import Uri
from bridge.sounds import FAREWELL, Sound
from bridge.transfer.targets import Targets
from tests.legs.wooden import Bench as LegBench
from tests.transfer.wooden import Party, Second

LOST = EndReason.SESSION_LOST
SORRY, BYE = (Sound.of_pcm(name, bytes((0, code)) * 80, 8000) for name, code in (("sorry", 10), ("bye", 20)))
TARGETS = {"desk": "sip:desk@pbx.example", "team": "2??"}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_b, "FAREWELL_S", 0)
    monkeypatch.setattr(plan_b, "POLL_S", 0)


class Leg(Party):
    """A party that needs to be told when it has heard what was played; `heard` says so."""

    def __init__(self) -> None:
        super().__init__(Law.PCMA)
        self.hears_at_once = True

    def play(self, item_id: str, audio: bytes) -> bool:
        self.drained = self.hears_at_once
        return super().play(item_id, audio)

    def flush(self) -> tuple[Any, ...]:
        self.drained = True
        return super().flush()

    def heard(self) -> None:
        self.drained = True
        self.on_drained()

    @property
    def sounds(self) -> list[str]:
        known = {sound.in_format(Law.PCMA): sound.name for sound in (SORRY, BYE, FAREWELL)}
        return [known.get(audio, "ringing" if audio == ringing(Law.PCMA) else "?") for _, audio in self.played]


class Call:
    """What plan B uses of a call; `did` is the order of what matters."""

    def __init__(self, method: str = "bridge", **settings: Any) -> None:
        self.leg = Leg()
        self.leg.on_audio = self.leg.on_digit = lambda _: self.did.append("heard by the agent")
        self.did: list[str] = []
        self.base = Uri.parse("sip:pbx.example")
        self.former: list[Any] = []
        self.counts = Counts()
        self.own_phones: list[str] = []
        self.hearing = SimpleNamespace(is_open=True, end_all=lambda: self.did.append("no more of the agent"))
        self.comfort = SimpleNamespace(
            start=lambda kind, after_s: self.did.append(f"{kind} after {after_s:g} s"),
            stop=lambda: self.did.append("no comfort"),
        )
        self.is_over = False
        self.tools = SimpleNamespace(is_handing_over=False, close=lambda: self.did.append("no tools"))
        transfer = SimpleNamespace(method=method, timeout_s=5)
        self.profile = SimpleNamespace(targets=Targets(TARGETS), transfer=transfer)
        self.ends: list[tuple[EndReason, str]] = []
        self.joined: list[Any] = []
        self.dialled: list[str] = []
        self.second = Second()
        self.refuses: Exception | None = None
        made = Settings.model_validate(settings) if settings else None
        sounds = {key: SORRY if key == "say" else BYE for key in (made.announcements() if made else ())}
        self.plan_b = PlanB(self, made, sounds)  # type: ignore[arg-type]

    def is_own_phone(self, target: Uri) -> bool:
        return str(target) in self.own_phones

    def end(self, reason: EndReason, detail: str = "") -> None:
        self.ends.append((reason, detail))

    def join(self, other: Any) -> None:
        self.joined.append(other)

    def dial(self, target: Uri, timeout_s: float) -> Second:
        if self.refuses is not None:
            raise self.refuses
        self.dialled.append(f"{target} {timeout_s:.0f}")
        return self.second

    async def lost(self, reason: EndReason = LOST, detail: str = "1011 gone") -> Call:
        self.plan_b.start(reason, detail)
        return await self.settle()

    async def settle(self) -> Call:
        for _ in range(10):
            await asyncio.sleep(0.001)
        return self


async def test_nothing_configured_is_soft_notes_and_then_the_end() -> None:
    call = await Call().lost()
    assert call.leg.sounds == ["farewell"] and len(call.leg.ended) == 2
    assert call.ends == [(LOST, "1011 gone")] and call.plan_b.state is State.OVER
    assert call.counts.transfers == {}


async def test_an_announcement_and_then_the_end_with_the_reason_it_had() -> None:
    call = await Call(say="Sorry.").lost(EndReason.SESSION_FAILED, "insufficient_quota")
    assert call.leg.sounds == ["sorry"], "no notes behind it"
    assert call.ends == [(EndReason.SESSION_FAILED, "insufficient_quota")]


async def test_from_its_beginning_nobody_hears_the_caller_and_nothing_can_interrupt() -> None:
    call = Call(say="Sorry.")
    call.leg.hears_at_once = False
    await call.lost()
    assert call.did == ["no tools", "no comfort", "no more of the agent"] and call.leg.ended[0] == "all"
    assert call.hearing.is_open is False and call.leg.pauses == ["unpause"]
    assert call.leg.on_audio is call.leg.on_digit is nothing
    assert call.leg.flushes == 0, "what the agent has said is heard first"


async def test_the_call_ends_only_when_the_announcement_was_heard() -> None:
    call = Call(say="Sorry.")
    call.leg.hears_at_once = False
    await call.lost()
    assert call.ends == [] and call.plan_b.state is State.ANNOUNCING and call.plan_b.is_running
    call.leg.on_drained()  # of what was queued before, between two items
    await call.settle()
    assert call.ends == []
    call.leg.heard()
    await call.settle()
    assert len(call.ends) == 1 and not call.plan_b.is_running


async def test_and_not_before_the_far_end_has_played_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_b, "FAREWELL_S", 60)
    call = await Call(say="Sorry.").lost()
    assert call.ends == []
    call.plan_b.close()


async def test_a_caller_who_holds_us_does_not_keep_the_call_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_b, "PATIENCE_S", 0.001)
    call = Call(say="Sorry.", transfer="desk", goodbye="Bye.")
    call.leg.hears_at_once = False
    call.second.word.set_result("no_answer")
    with capture_logs() as lines:
        await call.lost()
        await call.settle()
    assert call.leg.sounds == ["sorry", "bye"] and len(call.ends) == 1
    assert [line["sound"] for line in lines if line["event"] == "plan_b.unheard"] == ["sorry", "bye"]
    assert call.leg.flushes >= 2, "nothing of it is left for whoever comes next"


async def test_the_wait_is_as_long_as_what_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_b, "PATIENCE_S", 0.001)
    call = Call(say="Sorry.")
    call.leg.hears_at_once, call.leg.queued_ms = False, 60_000
    await call.lost()
    await call.settle()
    assert call.ends == []
    call.plan_b.close()


async def test_after_the_announcement_the_caller_goes_to_the_target_and_is_joined() -> None:
    call = Call(say="Sorry.", transfer="desk")
    call.leg.hears_at_once = False
    await call.lost()
    assert call.dialled == [], "he hears the announcement first"
    call.leg.heard()
    await call.settle()
    assert call.dialled == ["sip:desk@pbx.example 5"] and call.plan_b.state is State.TRANSFERRING
    call.leg.hears_at_once = True
    call.second.on_ringing(180)
    assert call.leg.sounds == ["sorry", "ringing"]
    call.second.word.set_result("")
    await call.settle()
    assert call.joined == [call.second] and call.ends == [] and not call.plan_b.is_running
    assert call.counts.transfers == {"joined": 1} and call.leg.flushes == 1, "it rings no more"


async def test_a_transfer_alone_needs_no_announcement() -> None:
    call = await Call(transfer="desk").lost()
    assert call.leg.played == [] and len(call.dialled) == 1
    call.plan_b.close()


async def test_a_pbx_that_takes_the_caller_ends_the_call_as_transferred() -> None:
    call = await Call("auto", say="Sorry.", transfer="desk").lost()
    assert str(call.leg.referred[0][0]) == "sip:desk@pbx.example" and not call.plan_b.handed_over()
    call.leg.progress(100, False)
    call.leg.progress(200, True)
    await call.settle()
    assert call.ends == [(EndReason.TRANSFERRED, "session_lost")] and call.counts.transfers == {"transferred": 1}


async def test_while_a_pbx_is_asked_the_line_is_not_dead() -> None:
    call = await Call("auto", transfer="desk").lost()
    assert call.did[3:] == ["tone after 2 s"]
    call.leg.progress(403, True)  # refused: a second call, which has a tone of its own
    await call.settle()
    assert call.did[3:] == ["tone after 2 s", "no comfort"] and len(call.dialled) == 1
    call.second.word.set_result("busy")
    await call.settle()
    assert call.did[3:] == ["tone after 2 s", "no comfort", "no comfort"] and call.leg.sounds == ["farewell"]


async def test_an_attended_transfer_keeps_the_second_leg_s_counts() -> None:
    call = await Call("attended", transfer="desk").lost()
    call.second.word.set_result("")
    await call.settle()
    call.leg.progress(200, True)
    await call.settle()
    assert call.former == [call.second] and call.ends == [(EndReason.TRANSFERRED, "session_lost")]


async def test_the_bye_of_a_pbx_that_has_accepted_is_a_transfer_and_counts_once() -> None:
    call = await Call("auto", transfer="desk").lost()
    call.leg.progress(202, False)
    assert call.plan_b.handed_over() and not call.plan_b.is_running
    call.leg.progress(200, True)
    await call.settle()
    assert call.counts.transfers == {"transferred": 1} and call.ends == []


async def test_any_other_bye_is_none() -> None:
    call = Call("auto", say="Sorry.", transfer="desk")
    assert not call.plan_b.handed_over()
    await call.lost()
    assert not call.plan_b.handed_over()
    call.plan_b.close()


@pytest.mark.parametrize(("settings", "sound"), [({}, "farewell"), ({"goodbye": "Bye."}, "bye")])
async def test_when_nobody_answers_he_is_told_goodbye(settings: dict[str, str], sound: str) -> None:
    call = Call(say="Sorry.", transfer="desk", **settings)
    call.second.word.set_result("no_answer")
    await call.lost()
    assert call.leg.sounds == ["sorry", sound]
    assert call.ends == [(LOST, "1011 gone")] and call.counts.transfers == {"no_answer": 1}


@pytest.mark.parametrize("error", [LegRefused(503, "no_rtp_port", "all taken"), ValueError("not a header")])
async def test_a_second_call_that_cannot_be_placed(error: Exception) -> None:
    call = Call(transfer="desk")
    call.refuses = error
    await call.lost()
    assert call.leg.sounds == ["farewell"] and call.ends == [(LOST, "1011 gone")]
    assert call.counts.transfers == {"unreachable": 1}


async def test_a_number_that_a_pattern_allows_is_called_at_the_base() -> None:
    call = await Call(transfer="234").lost()
    assert call.dialled == ["sip:234@pbx.example 5"]
    call.plan_b.close()


async def test_a_target_that_is_on_no_list_is_never_called() -> None:
    call = await Call(transfer="sip:elsewhere@example.net").lost()
    assert call.dialled == [] and call.leg.sounds == ["farewell"] and len(call.ends) == 1
    assert call.counts.transfers == {"not_allowed": 1}


async def test_a_phone_that_registers_here_is_called_from_here() -> None:
    call = Call("auto", transfer="desk")
    call.own_phones = ["sip:desk@pbx.example"]
    await call.lost()
    assert call.leg.referred == [] and len(call.dialled) == 1
    call.plan_b.close()


@pytest.mark.parametrize("said", [False, True])
async def test_the_end_of_the_call_ends_it(said: bool) -> None:
    call = Call(say="Sorry.", transfer="desk")
    call.leg.hears_at_once = said
    await call.lost()
    call.plan_b.close()
    await call.settle()
    assert call.second.given_up == int(said) and call.ends == [] and call.leg.sounds == ["sorry"]
    assert not call.plan_b.is_running


async def test_it_begins_once_and_never_after_the_end() -> None:
    call = await Call(say="Sorry.").lost()
    await call.lost()
    assert len(call.ends) == 1 and call.leg.sounds == ["sorry"]
    call = Call(say="Sorry.")
    call.plan_b.close()
    await call.lost()
    assert call.ends == [] and call.leg.played == []


async def test_a_fault_of_ours_ends_the_call_instead_of_leaving_a_dead_line() -> None:
    call = Call(transfer="desk")
    call.refuses = RuntimeError("a fault of ours")
    with capture_logs():
        await call.lost()
    assert call.ends == [(EndReason.INTERNAL_ERROR, "")]


@pytest.mark.parametrize(("joined", "heard"), [(True, []), (False, ["sorry"])])
async def test_a_transfer_of_the_agent_that_is_under_way_is_waited_for(joined: bool, heard: list[str]) -> None:
    call = Call(say="Sorry.")
    call.tools.is_handing_over = True
    await call.lost()
    assert call.leg.played == [] and call.did == [] and call.plan_b.is_running
    call.tools.is_handing_over, call.is_over = False, joined
    await call.settle()
    assert call.leg.sounds == heard and len(call.ends) == len(heard) and not call.plan_b.is_running


async def test_a_phone_hears_the_agent_s_last_word_and_the_announcement_to_its_last_byte() -> None:
    call = Call(say="Sorry.")
    with LegBench() as bench:
        call.leg = bench.connected().leg  # type: ignore[assignment]
        call.leg.play("agent", b"\x55" * 1000)  # and no end of it came
        call.leg.pause()
        call.plan_b.start(LOST)
        heard = b""
        for _ in range(200):
            await asyncio.sleep(0)
            bench.tick()
            heard += b"".join(packet.payload for packet in bench.phone.received())
            if call.ends:
                break
        else:
            raise AssertionError("it never ended")
    spoken = heard.replace(b"\xff", b"")
    assert spoken == b"\x55" * 1000 + SORRY.in_format(Law.PCMU) and len(SORRY.in_format(Law.PCMU)) == 80


def answered(**settings: Any) -> bool:
    return Call(**settings).plan_b.answers


async def test_a_call_is_answered_for_it_only_where_that_is_configured() -> None:
    assert answered(say="Sorry.") and answered(transfer="desk")
    assert not answered(say="Sorry.", answer=False) and not answered()


# Configuration


class Agent(BaseModel):
    plan_b: Settings


def test_a_text_alone_is_what_the_caller_is_told() -> None:
    assert Agent.model_validate({"plan_b": short_plan_b("Sorry.")}).plan_b == Settings(say="Sorry.")
    assert short_plan_b({"transfer": "desk"}) == {"transfer": "desk"}


def test_it_knows_which_sounds_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"")
    settings = Settings(file=path, transfer="desk", goodbye="Bye.")
    assert settings.announcements() == {"file": path, "goodbye": "Bye."}
    assert Settings(say="Sorry.", transfer="desk", goodbye_file=path).announcements() == {
        "say": "Sorry.",
        "goodbye_file": path,
    }


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "needs something to do: `say`, `file` or `transfer`"),
        ({"answer": False}, "needs something to do"),
        ({"say": "Sorry.", "file": __file__}, "say and file are the same announcement: keep one"),
        ({"transfer": "desk", "goodbye": "Bye.", "goodbye_file": __file__}, "goodbye and goodbye_file are the same"),
        ({"say": "Sorry.", "goodbye": "Bye."}, "it needs `transfer`"),
        ({"say": "Sorry.", "goodbye_file": __file__}, "it needs `transfer`"),
        ({"say": " ... "}, "there is nothing to say in it"),
        ({"say": "x" * 1001}, "at most 1000 characters"),
        ({"file": "/no/such.wav"}, "there is no such file"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(wrong)
    assert words in str(caught.value)


@pytest.mark.parametrize("target", ["desk", "DESK", "sip:desk@pbx.example", "234"])
def test_the_caller_may_be_sent_to_whom_the_agent_may_send_him(target: str) -> None:
    check_target(Settings(transfer=target), TARGETS)
    assert Targets(TARGETS).find(target, Uri.parse("sip:pbx.example")) is not None


@pytest.mark.parametrize("target", ["sales", "team", "1234", "2??", "sip:boss@pbx.example", "2 4"])
def test_and_to_nobody_else(target: str) -> None:
    with pytest.raises(ValueError, match=r"is not in transfer\.targets; there are: desk, team"):
        check_target(Settings(transfer=target), TARGETS)
    assert Targets(TARGETS).find(target, Uri.parse("sip:pbx.example")) is None


def test_without_a_transfer_there_is_nothing_to_check() -> None:
    check_target(None, {})
    check_target(Settings(say="Sorry."), {})
    with pytest.raises(ValueError, match="there are: none"):
        check_target(Settings(transfer="desk"), {})
