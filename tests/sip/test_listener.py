"""A listening socket: everyone is admitted, and a full machine rests instead of spinning."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from bridge.sip import listener as module
from bridge.sip.listener import BATCH, Listener

from .streams import HOST, on_both_loops, until


class Door:
    """A listener and what it admitted."""

    def __init__(self) -> None:
        self.admitted: list[socket.socket] = []
        self.listener = Listener(HOST, 0, lambda accepted, source: self.admitted.append(accepted))

    def close(self) -> None:
        self.listener.close()
        for accepted in self.admitted:
            accepted.close()


class Failing:
    """A listening socket whose `accept` fails with these errors first."""

    def __init__(self, real: socket.socket, errors: list[int]) -> None:
        self.fileno = real.fileno
        self.close = real.close
        self.asked = 0
        self._real = real
        self._errors = errors

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.asked += 1
        if self._errors:
            raise OSError(self._errors.pop(0), "failed")
        return self._real.accept()


@on_both_loops
async def test_all_who_knock_are_admitted() -> None:
    door = Door()
    peers = [socket.create_connection(door.listener.local) for _ in range(BATCH + 10)]
    await until(lambda: len(door.admitted) == len(peers))
    door.close()
    with pytest.raises(OSError):
        socket.create_connection(door.listener.local)
    for peer in peers:
        peer.close()


@on_both_loops
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_it_rests_and_comes_back(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    monkeypatch.setattr(module, "REST_S", 0.02)
    door = Door()
    door.listener._socket = failing = Failing(door.listener._socket, [error])  # type: ignore[assignment]
    with socket.create_connection(door.listener.local):
        await until(lambda: failing.asked)
        for _ in range(5):
            await asyncio.sleep(0)
        assert failing.asked == 1
        await until(lambda: door.admitted)
    door.close()


@on_both_loops
async def test_closing_ends_the_rest() -> None:
    door = Door()
    door.listener._socket = failing = Failing(door.listener._socket, [errno.EMFILE])  # type: ignore[assignment]
    with socket.create_connection(door.listener.local):
        await until(lambda: failing.asked)
        door.close()
        assert door.listener._rest is not None and door.listener._rest.cancelled()
    door.listener.close()


@on_both_loops
async def test_one_peer_that_is_gone_already_does_not_keep_others_out() -> None:
    door = Door()
    door.listener._socket = Failing(door.listener._socket, [errno.ECONNABORTED, errno.EPROTO])  # type: ignore[assignment]
    with socket.create_connection(door.listener.local):
        await until(lambda: door.admitted)
    door.close()
