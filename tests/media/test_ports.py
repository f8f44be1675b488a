import contextlib
import errno
import socket

import pytest

from bridge.media.ports import NoPort, PortPool


def free_range(count: int) -> tuple[int, int]:
    """`count` consecutive ports, from an even one on, that nobody holds at this moment."""
    for low in range(41000, 59000, 2 * count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(low, low + count, 2):
                    probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return low, low + count - 1
    raise AssertionError("no free ports on this machine")


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_ports_are_even_and_taken_in_turn() -> None:
    low, high = free_range(8)
    pool = PortPool(low, high)
    first = pool.open("127.0.0.1")
    assert (port_of(first), first.getblocking()) == (low, False)
    first.close()
    seen = []
    for _ in range(4):
        with pool.open("127.0.0.1") as sock:
            seen.append(port_of(sock))
    # The port just given back is the last to come again.
    assert seen == [low + 2, low + 4, low + 6, low]


def test_exhaustion_raises_and_a_close_helps() -> None:
    pool = PortPool(*free_range(4))
    socks = [pool.open("127.0.0.1") for _ in range(2)]
    assert pool.free == 0
    with pytest.raises(NoPort, match="all 2 RTP ports"):
        pool.open("127.0.0.1")
    pool.release(socks[0])
    socks[0].close()
    assert pool.free == 1
    with pool.open("127.0.0.1"):
        assert pool.free == 0
    socks[1].close()
    assert pool.free == 2


def test_a_port_of_another_program_is_passed_over() -> None:
    low, high = free_range(4)
    pool = PortPool(low, high)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", low))
        with pool.open("127.0.0.1") as sock:
            assert port_of(sock) == low + 2
            with pytest.raises(NoPort):
                pool.open("127.0.0.1")
        assert pool.free == 2


def test_an_address_that_is_not_ours_is_an_error_and_costs_no_port() -> None:
    pool = PortPool(*free_range(4))
    with pytest.raises(OSError) as refused:
        pool.open("192.0.2.1")
    assert refused.value.errno == errno.EADDRNOTAVAIL
    assert pool.free == 2


@pytest.mark.parametrize(("low", "high"), [(0, 10), (10, 8), (70000, 70010), (1000, 65536), (1001, 1001)])
def test_what_is_no_range_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match=f"{low}-{high}"):
        PortPool(low, high)


def test_a_range_from_an_odd_port_has_only_even_ones() -> None:
    assert PortPool(20001, 20005).size == 2


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_addresses_too() -> None:
    pool = PortPool(*free_range(4))
    try:
        with pool.open("::1") as sock:
            assert sock.family == socket.AF_INET6
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
