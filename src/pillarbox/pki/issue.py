"""One host's certificates and keys: what it asked for in its pillar, with the material beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pillarbox.pki.errors import PkiError
from pillarbox.pki.request import CertificateRequest, KeyRequest, authority, file_name
from pillarbox.pki.store import IssuedStore


def issue(pillar: Mapping[str, Any], directory: str | Path) -> dict[str, Any]:
    """``{"pki": {"certificate": {name: {..., certificate, key, ca_certificate}}, "key": {name: {..., key, keys}},
    "authority": {name: {..., certificate}}}}``.

    Takes the whole pillar of one minion (its name from ``_reclass_:name:full``, what it asks for from ``pki``) and
    returns the material for that minion only, beside the requests themselves. The same call returns the same material
    until a certificate has less than 30 days left, its request changes or its authority does. Raises
    :class:`pillarbox.pki.PkiError` for a request that is wrong; nothing is issued then.
    """
    wanted = pillar.get("pki") or {}
    certificates, keys = wanted.get("certificate") or {}, wanted.get("key") or {}
    trusted = {authority(name, data): data or {} for name, data in (wanted.get("authority") or {}).items()}
    asked = {
        name: CertificateRequest.parse(name, data)
        for name, data in certificates.items()
        if not _supplied(data, "certificate")
    }
    asked_keys = {name: KeyRequest.parse(name, data) for name, data in keys.items()}
    if not certificates and not keys and not trusted:
        return {"pki": {}}
    minion = file_name("_reclass_:name:full", ((pillar.get("_reclass_") or {}).get("name") or {}).get("full"))
    store = IssuedStore(Path(directory))
    result: dict[str, Any] = {}
    with store.locked():
        store.keep(minion, asked)
        if certificates:
            result["certificate"] = {
                name: {**data, **(store.certificate(minion, asked[name]) if name in asked else {})}
                for name, data in certificates.items()
            }
        if keys:
            result["key"] = {
                name: {**data, **({} if _supplied(data, "key") else store.key(asked_keys[name]))}
                for name, data in keys.items()
            }
        if trusted:
            result["authority"] = {
                name: {"certificate": store.authority(name).certificate_pem.decode(), **data}
                for name, data in trusted.items()
            }
    return {"pki": result}


def mistakes(pillar: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and reason of every request in the pillar of a minion that ``issue`` would refuse."""
    wanted = pillar.get("pki") or {}
    if not isinstance(wanted, Mapping):
        yield ("pki",), f"pki: expected a mapping, found {type(wanted).__name__}"
        return
    kinds = (("certificate", CertificateRequest.parse), ("key", KeyRequest.parse), ("authority", authority))
    for section, parse in kinds:
        asked = wanted.get(section) or {}
        if not isinstance(asked, Mapping):
            yield ("pki", section), f"pki:{section}: expected a mapping, found {type(asked).__name__}"
            continue
        for name, data in asked.items():
            try:
                if section != "certificate" or not _supplied(data, section):
                    parse(name, data)
            except PkiError as error:
                yield ("pki", section, str(name)), error.message


def _supplied(data: Any, part: str) -> bool:
    return isinstance(data, Mapping) and bool(data.get("key")) and bool(data.get(part))
