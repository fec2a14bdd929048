"""What a host asks for, checked: nothing in a request can lead out of the store or into a malformed certificate."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pillarbox.pki.errors import PkiError
from pillarbox.pki.key import KEY_TYPES

USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,126}[a-zA-Z0-9])?")


@dataclass(frozen=True)
class CertificateRequest:
    """One certificate as a host asks for it."""

    name: str
    ca: str
    common_name: str
    organization: tuple[str, ...]
    alternative_names: tuple[str, ...]
    usage: tuple[str, ...]

    @classmethod
    def parse(cls, name: str, data: Any) -> CertificateRequest:
        """The request that ``pki:certificate:<name>`` holds; raises :class:`PkiError` naming what is wrong in it."""
        place = f"pki:certificate:{name}"
        if not isinstance(data, Mapping):
            raise PkiError(f"{place}: expected a mapping, found {type(data).__name__}")
        common_name = data.get("common_name")
        if not isinstance(common_name, str) or not 0 < len(common_name) <= 64:
            raise PkiError(f"{place}:common_name: expected 1 to 64 characters, found {common_name!r}")
        usage = _strings(f"{place}:usage", data.get("usage") or ["server", "client"])
        for item in usage:
            if item not in USAGES:
                raise PkiError(f"{place}:usage: expected {' or '.join(USAGES)}, found {item!r}")
        alternative_names = _strings(f"{place}:alternative_names", data.get("alternative_names") or [])
        for item in alternative_names:
            _general_name(f"{place}:alternative_names", item)
        return cls(
            name=file_name(f"{place}: the name", name),
            ca=file_name(f"{place}:ca", data.get("ca")),
            common_name=common_name,
            organization=_strings(f"{place}:organization", data.get("organization") or []),
            alternative_names=alternative_names,
            usage=tuple(sorted(set(usage))),
        )

    @property
    def general_names(self) -> list[x509.GeneralName]:
        """The alternative names as a certificate has them."""
        return [_general_name("alternative_names", item) for item in self.alternative_names]

    def as_json(self) -> str:
        """What decides the certificate's content, to see whether a stored one still answers this request."""
        return json.dumps([self.ca, self.common_name, self.organization, self.alternative_names, self.usage])


@dataclass(frozen=True)
class KeyRequest:
    """One key as a host asks for it; ``kind`` is its ``type`` in the pillar, ``serial`` counts its rotations."""

    name: str
    kind: str
    serial: int = 1

    @classmethod
    def parse(cls, name: str, data: Any) -> KeyRequest:
        """The request that ``pki:key:<name>`` holds; raises :class:`PkiError` naming what is wrong in it."""
        place = f"pki:key:{name}"
        file_name(f"{place}: the name", name)
        if not isinstance(data, Mapping):
            raise PkiError(f"{place}: expected a mapping, found {type(data).__name__}")
        kind = data.get("type", "rsa")
        if kind not in KEY_TYPES:
            raise PkiError(f"{place}:type: expected {' or '.join(KEY_TYPES)}, found {kind!r}")
        if kind != "aes" and "serial" in data:
            raise PkiError(f"{place}:serial: a key of type {kind} has none: what it signed would be void at once")
        return cls(name, kind, _serial(place, data))


def authority(name: str, data: Any) -> str:
    """The name of an authority as ``pki:authority:<name>`` asks for it; raises :class:`PkiError` for what is no such
    request."""
    if data is not None and not isinstance(data, Mapping):
        raise PkiError(f"pki:authority:{name}: expected a mapping, found {type(data).__name__}")
    return file_name("pki:authority: the name", name)


def file_name(place: str, name: Any) -> str:
    """``name``, which may become a file name: no separators, no leading dot. Raises :class:`PkiError` for others."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise PkiError(f"{place}: expected letters, digits, '.', '_' and '-', found {name!r}")
    return name


def _serial(place: str, data: Mapping[str, Any]) -> int:
    serial = data.get("serial", 1)
    if not isinstance(serial, int) or isinstance(serial, bool) or serial < 1:
        raise PkiError(f"{place}:serial: expected a number from 1 on, found {serial!r}")
    return serial


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
