"""The big peers, each started once for a module; what is not here is skipped with the reason."""

from collections.abc import Iterator

import pytest

from tests.phones import peers
from tests.phones.asterisk import Asterisk
from tests.phones.certificates import Authority
from tests.phones.kamailio import Kamailio


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
