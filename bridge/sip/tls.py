"""What TLS needs to know, and what its failures are called (RFC 3261 section 26.3, RFC 5922)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

File = str | PathLike[str]

_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE", "BAD_RECORD_TYPE")
_NO_COMMON_GROUND = ("VERSION", "UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "CIPHER", "NO_PROTOCOLS_AVAILABLE")

_NOT_A_PAIR = ("MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""The key is another one's; the second: it is not even of the certificate's kind (RSA, EC, Ed25519)."""


class TlsError(ValueError):
    """A file or setting that TLS cannot use; `setting` is the field of TlsSettings at fault."""

    def __init__(self, setting: str, words: str) -> None:
        super().__init__(words)
        self.setting = setting


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM and what is asked of peers. Both contexts raise TlsError naming the file at fault.

    `certificate` is our chain, our own first (None when we only connect out); `key` belongs to it (None
    when it is in the same file). `ca` signs the peers (None: what the system trusts). `client_certificates`
    asks those who connect to us for one of `ca`. `minimum` is "1.2" or "1.3".
    """

    certificate: File | None = None
    key: File | None = None
    ca: File | None = None
    verify_servers: bool = True
    client_certificates: bool = False
    minimum: str = "1.2"

    def server_context(self) -> ssl.SSLContext:
        """For those who connect to us."""
        if self.certificate is None:
            raise TlsError("certificate", "a listener needs a certificate: give a PEM file with its chain, and its key")
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        if self.client_certificates:
            if self.ca is None:
                raise TlsError("ca", "to ask for client certificates, give the PEM file of the CA that signs them")
            self._trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For our connections to servers; our certificate, if there is one, is shown to those that ask."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify_servers:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is not None:
            self._trust(context)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context

    def _context(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        if self.minimum not in MINIMUM:
            raise TlsError("minimum", f'the minimum TLS version is "1.2" or "1.3", not {self.minimum!r}')
        context = ssl.SSLContext(protocol)
        context.minimum_version = MINIMUM[self.minimum]
        context.options |= ssl.OP_NO_RENEGOTIATION  # else a stranger makes us compute for as long as he likes
        if self.certificate is not None:
            self._show(context, self.certificate, self.key or self.certificate)
        return context

    def _show(self, context: ssl.SSLContext, certificate: File, key: File) -> None:
        _readable(certificate, "certificate")
        _readable(key, "key")

        def locked() -> str:
            raise TlsError("key", f"{key} is protected by a passphrase: give the key without one")

        try:
            context.load_cert_chain(certificate, key, locked)
        except ssl.SSLError as error:
            if any(mark in (error.reason or "") for mark in _NOT_A_PAIR):
                words = f"{key} does not belong to the certificate in {certificate}: give the pair"
                raise TlsError("key", words) from error
            raise _culprit(certificate, key) from error

    def _trust(self, context: ssl.SSLContext) -> None:
        assert self.ca is not None
        _readable(self.ca, "ca")
        try:
            context.load_verify_locations(self.ca)
        except ssl.SSLError as error:
            raise TlsError("ca", f"{self.ca} has no certificate of a CA in PEM") from error


def _readable(file: File, setting: str) -> None:
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise TlsError(setting, f"{file}: {error.strerror}: give a PEM file that can be read") from error


def _culprit(certificate: File, key: File) -> TlsError:
    """Which of two files OpenSSL could not use; it does not say."""
    if b"-----BEGIN CERTIFICATE-----" not in Path(certificate).read_bytes():
        return TlsError("certificate", f"{certificate} has no certificate in PEM")
    if b"PRIVATE KEY-----" not in Path(key).read_bytes():
        return TlsError("key", f"{key} has no private key in PEM")
    return TlsError("certificate", f"{certificate} or {key} is damaged")


def handshake_failure(error: Exception) -> str:
    """One word for a counter: "certificate", "not_tls", "version", "closed" or "protocol"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "closed"
    reason = getattr(error, "reason", None) or ""  # absent when no OpenSSL call made it
    if reason in _NOT_TLS:
        return "not_tls"
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return "certificate"
    return "version" if any(mark in reason for mark in _NO_COMMON_GROUND) else "protocol"
