"""Certificates for TLS between the buses of directors: looked at, and made by a small CA of ours.

The CA signs directors and nothing else: who shows a certificate of it is one.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from heartbus.bus_keys import KeyFileError, RouteFiles
from heartbus.model import Director

CA_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 1825
CLOCKS_DIFFER: Final = timedelta(days=1)
"""A certificate is good from a day before: the clock of another director may be behind."""

PEM_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: str
    key: str


def require_usable(files: RouteFiles) -> None:
    """Check that nats-server can start with these files; that they are in date is not asked.

    Raises:
        KeyFileError: one cannot be read, or the key is not that of the certificate.

    """
    certificate = _certificates(files.certificate)[0]
    _certificates(files.ca)
    try:
        key = serialization.load_pem_private_key(_read(files.key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{files.key}: no private key in PEM without a password") from error
    if key.public_key() != certificate.public_key():
        raise KeyFileError(f"{files.key}: not the key of {files.certificate}")


def expires_s(file: Path) -> float:
    """Return when the first certificate of a file that will expire does, as a wall clock says it.

    Raises:
        KeyFileError: it cannot be read.

    """
    return min(found.not_valid_after_utc for found in _certificates(file)).timestamp()


def make_ca(*, now_s: float) -> Pair:
    """Return a new CA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "heartbus directors")])
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now_s=now_s, days=CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def make_certificate(ca: Pair, director: Director, *, now_s: float, days: int) -> Pair:
    """Return a certificate of a director: for its name and where its nats-server is reached.

    Raises:
        KeyFileError: the CA cannot be used.

    """
    try:
        issuer = x509.load_pem_x509_certificate(ca.certificate.encode())
        signer = serialization.load_pem_private_key(ca.key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"the CA cannot be used: {error}") from error
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise KeyFileError("the CA cannot be used: its key is not of an elliptic curve")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, director.name[:64])])
    # Each server is the client of the other one too, by whoever dials first.
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now_s=now_s, days=days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(_names(director)), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(authority, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pair(certificate, key)


def _names(director: Director) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(director.name)]
    if director.address is None or director.address == director.name:
        return names
    try:
        return [*names, x509.IPAddress(ipaddress.ip_address(director.address))]
    except ValueError:
        return [*names, x509.DNSName(director.address)]


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    now_s: float,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_s, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=days))
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(file))
    except ValueError as error:
        raise KeyFileError(f"{file}: no certificate in PEM: {error}") from error


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"{file}: {error.strerror}") from error
    if len(content) > PEM_BYTES_MAX:
        raise KeyFileError(f"{file}: more than {PEM_BYTES_MAX} bytes")
    return content
