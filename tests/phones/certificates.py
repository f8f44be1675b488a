"""A certificate authority that lives as long as a test, made by the `openssl` program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LOOPBACK = ("IP:127.0.0.1", "IP:::1", "DNS:localhost")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, both PEM; `both` holds the two in one file, as some programs want it."""

    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs: `certificate` is what the other side has to trust."""

    folder: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """A new authority with its files in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / "ca.pem", folder / "ca.key"
        _openssl("Test authority", certificate, key, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        return cls(folder, certificate, key)

    def issue(self, name: str, alternatives: tuple[str, ...] = LOOPBACK) -> Certificate:
        """A certificate for the names and addresses of `alternatives`, for servers and clients."""
        made = Certificate(*(self.folder / f"{name}.{end}" for end in ("pem", "key", "both")))
        _openssl(
            name,
            made.certificate,
            made.key,
            *("-CA", str(self.certificate), "-CAkey", str(self.key)),
            *("-addext", f"subjectAltName={','.join(alternatives)}"),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=digitalSignature"),
            *("-addext", "extendedKeyUsage=serverAuth,clientAuth"),
        )
        made.both.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
        return made


def _openssl(name: str, certificate: Path, key: Path, *more: str) -> None:
    program = shutil.which("openssl") or "openssl"
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate), *more]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
