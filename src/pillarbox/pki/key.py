"""Keys as text: made, written, and the public half of those that have one."""

from __future__ import annotations

import base64
import secrets

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A private key in the form that OpenSSL and Kubernetes read; not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public(private: bytes) -> str:
    """The public half of a private key in PEM. Raises ``ValueError`` for what is no such key."""
    loaded = serialization.load_pem_private_key(private, password=None)
    return (
        loaded.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def _rsa() -> bytes:
    return pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _aes() -> bytes:
    return base64.b64encode(secrets.token_bytes(32))


#: How a new key of each type is made.
KEY_TYPES = {"rsa": _rsa, "aes": _aes}
