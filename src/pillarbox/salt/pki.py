"""Certificates and keys that hosts ask for in the model, issued by the master and kept there.

A host asks in its own pillar::

    pki:
      certificate:
        kubernetes-kubelet:
          ca: kubernetes
          common_name: system:node:ctl01
          organization: system:nodes
          alternative_names: ["DNS:ctl01", "IP:172.30.20.21"]
          usage: [server, client]
      key:
        kubernetes-service-account: {type: rsa}

An authority comes to be when the first certificate of it is asked for; its key never leaves the master. Certificates
belong to one host. Keys belong to the deployment: every host that asks for the same name gets the same key. A request
that already has ``certificate`` and ``key`` (from a public key infrastructure of one's own) is passed on as it is.

Below the directory: ``authority/<ca>.key|crt``, ``host/<minion>/<name>.key|crt|json``, ``key/<name>.<type>``.
"""

from __future__ import annotations

import base64
import fcntl
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pillarbox.system.errors import PillarboxError

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,126}[a-zA-Z0-9])?")
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 365
_RENEW_DAYS = 30
# Hosts' clocks differ a little; a certificate must not be "not yet valid" on one of them.
_SKEW = timedelta(minutes=10)


class PkiError(PillarboxError):
    """A request for a certificate or key that cannot be granted, or a store that cannot be trusted."""


@dataclass(frozen=True)
class Request:
    """One certificate as a host asks for it."""

    name: str
    ca: str
    common_name: str
    organization: tuple[str, ...]
    alternative_names: tuple[str, ...]
    usage: tuple[str, ...]

    @classmethod
    def parse(cls, name: str, data: Mapping[str, Any]) -> Request:
        """The request that ``pki:certificate:<name>`` holds; raises :class:`PkiError` naming what is wrong in it."""
        place = f"pki:certificate:{name}"
        if not isinstance(data, Mapping):
            raise PkiError(f"{place}: expected a mapping, found {type(data).__name__}")
        common_name = data.get("common_name")
        if not isinstance(common_name, str) or not 0 < len(common_name) <= 64:
            raise PkiError(f"{place}:common_name: expected 1 to 64 characters, found {common_name!r}")
        usage = _strings(f"{place}:usage", data.get("usage") or ["server", "client"])
        for item in usage:
            if item not in _USAGES:
                raise PkiError(f"{place}:usage: expected {' or '.join(_USAGES)}, found {item!r}")
        alternative_names = _strings(f"{place}:alternative_names", data.get("alternative_names") or [])
        for item in alternative_names:
            _general_name(f"{place}:alternative_names", item)
        return cls(
            name=_checked(f"{place}: the name", name),
            ca=_checked(f"{place}:ca", data.get("ca")),
            common_name=common_name,
            organization=_strings(f"{place}:organization", data.get("organization") or []),
            alternative_names=alternative_names,
            usage=tuple(sorted(set(usage))),
        )

    def as_json(self) -> str:
        """What decides the certificate's content, to see whether a stored one still answers this request."""
        return json.dumps([self.ca, self.common_name, self.organization, self.alternative_names, self.usage])


def issue(pillar: Mapping[str, Any], directory: str | Path) -> dict[str, Any]:
    """``{"pki": {"certificate": {name: {..., certificate, key, ca_certificate}}, "key": {name: {..., key}}}}``.

    Takes the whole pillar of one minion (its name from ``_reclass_:name:full``, what it asks for from ``pki``) and
    returns the material for that minion only, beside the requests themselves. The same call returns the same material
    until a certificate has less than 30 days left, its request changes or its authority does. Raises
    :class:`PkiError` for a request that is wrong; nothing is issued then.
    """
    wanted = pillar.get("pki") or {}
    certificates, keys = wanted.get("certificate") or {}, wanted.get("key") or {}
    result: dict[str, Any] = {}
    requests = {
        name: Request.parse(name, data) for name, data in certificates.items() if not _supplied(data, "certificate")
    }
    for name, data in keys.items():
        _checked(f"pki:key:{name}: the name", name)
        if _key_type(name, data) not in _KEY_TYPES:
            raise PkiError(f"pki:key:{name}:type: expected {' or '.join(_KEY_TYPES)}, found {_key_type(name, data)!r}")
    if not certificates and not keys:
        return {"pki": result}
    minion = _checked("_reclass_:name:full", ((pillar.get("_reclass_") or {}).get("name") or {}).get("full"))
    root = Path(directory)
    with _locked(root):
        if certificates:
            result["certificate"] = {
                name: {**data, **(_certificate(root, minion, requests[name]) if name in requests else {})}
                for name, data in certificates.items()
            }
        if keys:
            result["key"] = {
                name: {**data, **({} if _supplied(data, "key") else _key(root, name, _key_type(name, data)))}
                for name, data in keys.items()
            }
    return {"pki": result}


def _supplied(data: Any, part: str) -> bool:
    return isinstance(data, Mapping) and bool(data.get("key")) and bool(data.get(part))


def _checked(place: str, name: Any) -> str:
    """A name that may become a file name: no separators, no leading dot."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise PkiError(f"{place}: expected letters, digits, '.', '_' and '-', found {name!r}")
    return name


def _strings(place: str, value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item for item in items):
        raise PkiError(f"{place}: expected a list of strings, found {value!r}")
    return tuple(items)


def _general_name(place: str, text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    try:
        if kind == "DNS" and value:
            return x509.DNSName(value)
        if kind == "IP":
            return x509.IPAddress(ipaddress.ip_address(value))
    except ValueError as error:
        raise PkiError(f"{place}: {text!r}: {error}") from error
    raise PkiError(f"{place}: expected DNS:<name> or IP:<address>, found {text!r}")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the store alone: the master renders the pillars of many minions at once, in several processes."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PkiError(f"the store of issued certificates cannot be opened: {error.strerror}", file=root) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    """The whole content or none of it, readable by the owner only."""
    # Parents that mkdir makes on the way would get the mode of the umask, not 0700.
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise PkiError(f"cannot be written: {error.strerror}", file=path) from error
    finally:
        temporary.unlink(missing_ok=True)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    pem: str


def _authority(root: Path, name: str) -> _Authority:
    """The authority of that name, made when it is needed first."""
    key_file, certificate_file = root / "authority" / f"{name}.key", root / "authority" / f"{name}.crt"
    if not certificate_file.exists():
        # The certificate is written last: without it the key has signed nothing and may be made again.
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
        _write(key_file, _pem(key))
        _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    try:
        pem = certificate_file.read_bytes()
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (OSError, ValueError) as error:
        raise PkiError(
            f"the authority {name!r} cannot be read: {error}",
            file=certificate_file,
            hint="restore both files from a backup, or remove both to start a new authority",
        ) from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != certificate.public_key():
        raise PkiError(f"the key of the authority {name!r} is not that of its certificate", file=key_file)
    return _Authority(certificate, loaded, pem.decode())


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


def _certificate(root: Path, minion: str, request: Request) -> dict[str, str]:
    """The minion's certificate for a request: the stored one while it holds, else a new one with a new key."""
    authority = _authority(root, request.ca)
    base = root / "host" / minion
    files = {part: base / f"{request.name}.{part}" for part in ("key", "crt", "json")}
    if not _holds(files, request, authority):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(request, key.public_key(), authority)
        # The request is written last and stands for all three: killed in between, everything is made again.
        files["json"].unlink(missing_ok=True)
        _write(files["key"], _pem(key))
        _write(files["crt"], certificate.public_bytes(serialization.Encoding.PEM))
        _write(files["json"], request.as_json().encode())
    return {
        "certificate": files["crt"].read_text(),
        "key": files["key"].read_text(),
        "ca_certificate": authority.pem,
    }


def _holds(files: Mapping[str, Path], request: Request, authority: _Authority) -> bool:
    if not all(file.exists() for file in files.values()) or files["json"].read_text() != request.as_json():
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files["crt"].read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:
        # Damaged, or of an authority that has been replaced: either way it must be issued anew.
        return False
    return certificate.not_valid_after_utc - datetime.now(UTC) >= timedelta(days=_RENEW_DAYS)


def _sign(request: Request, public_key: ec.EllipticCurvePublicKey, authority: _Authority) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, item) for item in request.organization]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, request.common_name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now + timedelta(days=_CERTIFICATE_DAYS), authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[item] for item in request.usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if request.alternative_names:
        general = [_general_name("alternative_names", item) for item in request.alternative_names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _rsa_key() -> bytes:
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _aes_key() -> bytes:
    return base64.b64encode(secrets.token_bytes(32))


_KEY_TYPES = {"rsa": _rsa_key, "aes": _aes_key}


def _key_type(name: str, data: Any) -> Any:
    if not isinstance(data, Mapping):
        raise PkiError(f"pki:key:{name}: expected a mapping, found {type(data).__name__}")
    return data.get("type", "rsa")


def _key(root: Path, name: str, kind: str) -> dict[str, str]:
    """The deployment's key of that name; ``public`` beside it where the type has a public half."""
    file = root / "key" / f"{name}.{kind}"
    if not file.exists():
        _write(file, _KEY_TYPES[kind]())
    text = file.read_text()
    if kind != "rsa":
        return {"key": text}
    try:
        loaded = serialization.load_pem_private_key(text.encode(), password=None)
    except ValueError as error:
        raise PkiError(f"the key {name!r} cannot be read: {error}", file=file) from error
    public = loaded.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {"key": text, "public": public.decode()}
