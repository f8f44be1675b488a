"""Texts that are read once."""

import pytest

from bridge.sip.address import Address
from bridge.sip.errors import SipError
from bridge.sip.literals import literal, spelled
from bridge.sip.remembered import LONGEST, MOST, remembered


def test_a_text_is_read_once_for_each_purpose() -> None:
    read: list[tuple[str, int]] = []

    @remembered
    def doubled(text: str, times: int) -> str:
        read.append((text, times))
        return text * times

    assert [doubled("a", 2), doubled("a", 2), doubled("a", 3)] == ["aa", "aa", "aaa"]
    assert read == [("a", 2), ("a", 3)]


def test_what_is_long_or_long_ago_is_read_anew() -> None:
    read: list[str] = []

    @remembered
    def length(text: str) -> int:
        read.append(text)
        return len(text)

    long = "x" * (LONGEST + 1)
    assert length(long) == length(long) == LONGEST + 1
    assert read == [long, long]
    for number in range(MOST + 1):
        length(str(number))
    read.clear()
    length("0")
    length(str(MOST))
    assert read == ["0"]


def test_what_is_refused_is_refused_again() -> None:
    for where in ("From", "From", "To"):
        with pytest.raises(SipError, match=f"Malformed {where}"):
            Address.parse("<sip:a@b>x", where)


@pytest.mark.parametrize(
    ("host", "version", "shown"),
    [
        ("192.0.2.1", 4, "192.0.2.1"),
        ("2001:DB8:0::1", 6, "2001:db8::1"),
        ("fe80::1%eth0", 6, "fe80::1%eth0"),
        ("pbx.example", None, "pbx.example"),
        ("", None, ""),
    ],
)
def test_literals(host: str, version: int | None, shown: str) -> None:
    address = literal(host)
    assert (address.version if address is not None else None) == version
    assert spelled(host) == shown
