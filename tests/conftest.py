"""What all tests share: free ports, and the phone programs with the reason why one is missing."""

import shutil
import socket
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.phones.processes import free_port

# A busy machine is slow at times, which says nothing about the code.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


@pytest.fixture
def free_udp_port() -> Callable[[], int]:
    """Gives a UDP port of 127.0.0.1 that was free a moment ago."""
    return free_port


@pytest.fixture
def free_tcp_port() -> Callable[[], int]:
    """Gives a TCP port of 127.0.0.1 that was free a moment ago."""
    return lambda: free_port(socket.SOCK_STREAM)


def _program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return path


@pytest.fixture
def sipp() -> str:
    """Path of SIPp, or the test is skipped."""
    return _program("sipp", "sip-tester")


@pytest.fixture
def baresip() -> str:
    """Path of baresip, or the test is skipped."""
    return _program("baresip", "baresip-core")
