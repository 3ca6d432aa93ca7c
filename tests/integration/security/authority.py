"""Certificates for the tests: an authority of their own, and what it signs, as PEM files."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A certificate and its key as files; ``both`` holds the two, as Kafka's PEM key stores want them."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """An authority that signs certificates.

    Args:
        folder: for the files.
        name: of the authority and its file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key.public_key(), timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(
        self,
        name: str,
        *,
        host: str | None = None,
        password: str = "",
        life: timedelta = timedelta(days=1),
        subject: str = "",
    ) -> Identity:
        """Return a certificate: of a server when it has a host, else of a client.

        Args:
            name: of the files, and of the subject when that has no other.
            host: an IP address or a name.
            password: of the key's file; empty: it is not encrypted.
            subject: common name.
            life: from an hour before the end; negative: it has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [
            (NameOID.COUNTRY_NAME, "DE"),
            (NameOID.ORGANIZATION_NAME, "Tests, Inc."),
            (NameOID.COMMON_NAME, subject or name),
        ]
        builder = self._builder(
            x509.Name([x509.NameAttribute(oid, text) for oid, text in parts]), key.public_key(), life
        )
        if host is not None:
            is_address = host[0].isdigit()
            general = x509.IPAddress(ipaddress.ip_address(host)) if is_address else x509.DNSName(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([general]), critical=False)
        cert = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        made = Identity(*(self._folder / f"{name}.{end}" for end in ("cert", "key", "both")))
        for path, body in ((made.cert, cert), (made.key, pem), (made.both, cert + pem)):
            path.write_bytes(body)
        return made

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta) -> x509.CertificateBuilder:
        end = datetime.now(UTC) + life
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(end, datetime.now(UTC)) - timedelta(hours=1))
            .not_valid_after(end)
        )
