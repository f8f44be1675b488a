"""The big peers, each started once for a module; what is not here is skipped with the reason."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.interop.lasting import Lasting
from tests.phones import peers
from tests.phones.asterisk import Asterisk
from tests.phones.certificates import Authority
from tests.phones.kamailio import Kamailio

LASTING = "tests.interop.test_session_timers"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What only has to last comes to its end last."""
    items.sort(key=_has_to_last)


def _has_to_last(item: pytest.Item) -> bool:
    return item.nodeid.startswith(LASTING.replace(".", "/") + ".py")


@pytest.fixture(scope="session", autouse=True)
def lasting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting | None]:
    """The long calls: they begin with the first test, so that they cost no time of their own."""
    peer, wanted = peers.asterisk(), any(map(_has_to_last, request.session.items))
    if peer is None or not wanted or peers.Peer.installed("openssl") is None:
        yield None
        return
    folder = tmp_path_factory.mktemp("lasting")
    with contextlib.closing(Lasting(peer, folder, Authority.make(folder / "ca"))) as calls:
        yield calls


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
