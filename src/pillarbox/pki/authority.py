"""A certificate authority: made when it is first needed, and signs what hosts ask for."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pillarbox.pki.key import pem
from pillarbox.pki.request import USAGES, CertificateRequest

_AUTHORITY_DAYS = 3650
# Nobody can take a certificate back from a host that is gone; it ends by itself.
_CERTIFICATE_DAYS = 90
_RENEW_DAYS = 30
# Hosts' clocks differ a little; a certificate must not be "not yet valid" on one of them.
_SKEW = timedelta(minutes=10)


@dataclass(frozen=True)
class Authority:
    """An authority's certificate, as an object and in PEM (which everybody may have), and its key (which stays)."""

    certificate: x509.Certificate
    certificate_pem: bytes
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, name: str) -> Authority:
        """A new authority of that name, with a random suffix, so that it differs from others of the name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {secrets.token_hex(4)}")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + timedelta(days=_AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, certificate.public_bytes(serialization.Encoding.PEM), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Authority:
        """The authority with that certificate and key, both PEM. Raises ``ValueError`` when they are no such pair."""
        found = x509.load_pem_x509_certificate(certificate)
        loaded = serialization.load_pem_private_key(key, password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != found.public_key():
            raise ValueError("the key is not that of the certificate")
        return cls(found, certificate, loaded)

    @property
    def key_pem(self) -> bytes:
        """The key in PEM."""
        return pem(self.key)

    def sign(self, request: CertificateRequest) -> tuple[bytes, bytes]:
        """A new key and the certificate for it, both PEM, as ``request`` asks."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, item) for item in request.organization]
        usage = [USAGES[item] for item in request.usage]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, request.common_name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(min(now + timedelta(days=_CERTIFICATE_DAYS), self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if request.alternative_names:
            builder = builder.add_extension(x509.SubjectAlternativeName(request.general_names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return pem(key), certificate.public_bytes(serialization.Encoding.PEM)

    def vouches_for(self, certificate: bytes) -> bool:
        """Whether a certificate is ours and holds for a month yet."""
        try:
            found = x509.load_pem_x509_certificate(certificate)
            found.verify_directly_issued_by(self.certificate)
        except Exception:
            # Damaged, or of an authority that has been replaced: either way it must be issued again.
            return False
        return found.not_valid_after_utc - datetime.now(UTC) >= timedelta(days=_RENEW_DAYS)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
