"""TLS settings: contexts that do what was asked, and errors that name the file at fault."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from bridge.sip.tls import TlsError, TlsSettings, handshake_failure
from tests.phones.certificates import Authority, Certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.issue("ours")


def shake(
    server: TlsSettings, client: TlsSettings, name: str = "localhost"
) -> tuple[ssl.SSLObject, Exception | None, Exception | None]:
    """The client's end after a handshake in memory, and what each side (server, client) failed with."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.server_context().wrap_bio(there, back, server_side=True),
        client.client_context().wrap_bio(back, there, server_hostname=name),
    ]
    failures: list[Exception | None] = [None, None]
    for _ in range(6):
        for number, end in enumerate(ends):
            if failures[number] is None:
                try:
                    end.do_handshake()
                    end.read()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    failures[number] = error
    return ends[1], failures[0], failures[1]


def failures(*arguments: object) -> list[str]:
    _, server, client = shake(*arguments)  # type: ignore[arg-type]
    return [handshake_failure(error) for error in (server, client) if error is not None]


def test_a_server_is_verified_against_the_ca_and_the_name(authority: Authority, ours: Certificate) -> None:
    server = TlsSettings(ours.certificate, ours.key)
    client = TlsSettings(ca=authority.certificate)
    for name in ("localhost", "127.0.0.1", "::1"):
        assert failures(server, client, name) == []
    assert "certificate" in failures(server, client, "elsewhere.example")
    assert "certificate" in failures(server, client, "127.0.0.2")
    assert "certificate" in failures(server, TlsSettings())


def test_without_a_ca_the_system_decides(
    authority: Authority, ours: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert failures(TlsSettings(ours.certificate, ours.key), TlsSettings()) == []


def test_verification_can_be_switched_off(ours: Certificate) -> None:
    server = TlsSettings(ours.certificate, ours.key)
    assert failures(server, TlsSettings(verify_servers=False), "elsewhere.example") == []


def test_certificate_and_key_may_be_in_one_file(authority: Authority, ours: Certificate) -> None:
    assert failures(TlsSettings(ours.both), TlsSettings(ca=authority.certificate)) == []


def test_clients_can_be_asked_for_a_certificate(authority: Authority, ours: Certificate) -> None:
    server = TlsSettings(ours.certificate, ours.key, authority.certificate, client_certificates=True)
    with_one = TlsSettings(ours.certificate, ours.key, authority.certificate)
    assert failures(server, with_one) == []
    assert failures(server, TlsSettings(ca=authority.certificate))[0] == "certificate"


@pytest.mark.parametrize(("minimum", "version"), [("1.2", "TLSv1.2"), ("1.3", None)])
def test_the_minimum_version_holds(
    authority: Authority, ours: Certificate, minimum: str, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TlsSettings.client_context

    def old(settings: TlsSettings) -> ssl.SSLContext:
        context = plain(settings)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    monkeypatch.setattr(TlsSettings, "client_context", old)
    server = TlsSettings(ours.certificate, ours.key, minimum=minimum)
    end, *errors = shake(server, TlsSettings(ca=authority.certificate))
    assert end.version() == version if version else "version" in [handshake_failure(e) for e in errors if e]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("side", ["server_context", "client_context"])
def test_both_sides_start_at_1_2(ours: Certificate, side: str) -> None:
    context: ssl.SSLContext = getattr(TlsSettings(ours.certificate, ours.key), side)()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_without_a_certificate_only_the_client_side_works() -> None:
    assert TlsSettings().client_context().check_hostname
    with pytest.raises(ValueError, match="a listener needs a certificate: give a PEM file"):
        TlsSettings().server_context()


def test_errors_name_the_file_and_what_would_be_right(authority: Authority, ours: Certificate, tmp_path: Path) -> None:
    other = authority.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("hello")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", ours.key, "-aes256", "-passout", "pass:secret", "-out", locked],
        check=True,
        capture_output=True,
    )
    rsa = tmp_path / "rsa.key"
    subprocess.run(["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True)
    damaged = tmp_path / "damaged.key"
    damaged.write_text(ours.key.read_text().replace("\nM", "\nA", 1))
    cases = [
        (TlsSettings(tmp_path / "none.pem", ours.key), "certificate", "none.pem: No such file.*: give a PEM file"),
        (TlsSettings(ours.certificate, tmp_path / "none.key"), "key", "none.key: No such file"),
        (TlsSettings(tmp_path, ours.key), "certificate", "Is a directory"),
        (TlsSettings(ours.certificate, other.key), "key", "other.key does not belong to .*ours.pem: give the pair"),
        (TlsSettings(ours.certificate, rsa), "key", "rsa.key does not belong to .*ours.pem: give the pair"),
        (TlsSettings(ours.certificate, damaged), "certificate", "ours.pem or .*damaged.key is damaged"),
        (TlsSettings(text, ours.key), "certificate", "text.pem has no certificate in PEM"),
        (TlsSettings(ours.certificate, text), "key", "text.pem has no private key in PEM"),
        (TlsSettings(ours.certificate), "key", "ours.pem has no private key in PEM"),
        (TlsSettings(ours.certificate, locked), "key", "locked.key is protected by a passphrase: give the key without"),
        (TlsSettings(ours.certificate, ours.key, minimum="1.1"), "minimum", 'is "1.2" or "1.3", not \'1.1\''),
        (TlsSettings(ours.certificate, ours.key, client_certificates=True), "ca", "give the PEM file of the CA"),
        (
            TlsSettings(ours.certificate, ours.key, text, client_certificates=True),
            "ca",
            "text.pem has no certificate of a",
        ),
        (TlsSettings(ours.certificate, ours.key, tmp_path / "ca", client_certificates=True), "ca", "ca: No such file"),
    ]
    for settings, setting, pattern in cases:
        with pytest.raises(TlsError, match=pattern) as failed:
            settings.server_context()
        assert failed.value.setting == setting
    with pytest.raises(ValueError, match=r"text.pem has no certificate of a CA"):
        TlsSettings(ca=text).client_context()


def test_failures_have_a_word_each() -> None:
    for error, word in (
        (ConnectionResetError(), "closed"),
        (ssl.SSLEOFError(), "closed"),
        (ssl.SSLCertVerificationError(), "certificate"),
        (ssl.SSLError(), "protocol"),
    ):
        assert handshake_failure(error) == word


def test_plain_text_is_told_from_tls(ours: Certificate) -> None:
    incoming = ssl.MemoryBIO()
    end = TlsSettings(ours.certificate, ours.key).server_context().wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(b"OPTIONS sip:a@h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        end.do_handshake()
    assert handshake_failure(caught.value) == "not_tls"
