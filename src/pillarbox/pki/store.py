"""What was issued, on the master's disk.

Below the directory: ``authority/<ca>.key|crt``, ``host/<minion>/<name>.key|crt|json``, ``key/<name>.<type>``; of a
serial above 1 ``key/<name>@<serial>.<type>``.

Keys of type ``aes`` are rotated by their serial. The key of the next serial is made, and known to hosts, before it is
used: hosts get their states one after the other, and what one of them writes, the others must be able to read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from pillarbox.pki.authority import Authority
from pillarbox.pki.errors import PkiError
from pillarbox.pki.key import KEY_TYPES, public
from pillarbox.pki.request import CertificateRequest, KeyRequest, file_name
from pillarbox.system import files, locks

DIRECTORY = "/var/lib/pillarbox/pki"
#: Days that are left of a certificate that should have been renewed long ago.
_NEAR_END = 20


@dataclass(frozen=True, order=True)
class Issued:
    """A certificate that a host has, and when it ends."""

    ends: datetime
    host: str
    name: str

    @property
    def ended(self) -> bool:
        """Whether nobody accepts it any more."""
        return self.ends <= datetime.now(UTC)

    def __str__(self) -> str:
        return f"certificate {self.name} of host {self.host}: {self.detail}"

    @property
    def detail(self) -> str:
        """Until when it holds, in words."""
        return f"until {self.ends:%Y-%m-%d %H:%M} UTC; the host has not asked for a new one"

    def as_dict(self) -> dict[str, str]:
        """The certificate as plain data, as the state of an object of a cluster."""
        return {
            "kind": "Certificate",
            "namespace": self.host,
            "name": self.name,
            "state": "ended" if self.ended else "ending",
            "detail": self.detail,
        }


def forget(directory: Path, host: str) -> None:
    """Keep nothing any more that was issued to ``host``; fine where nothing was."""
    folder = directory / "host" / file_name("the host's name", host)
    if folder.is_dir():
        with IssuedStore(directory).locked():
            files.remove(folder)


def near_end(directory: Path) -> Iterator[Issued]:
    """The certificates that no host has come for although they end within :data:`_NEAR_END` days, or have ended.

    Raises ``OSError`` for whoever may not read the store.
    """
    soon = datetime.now(UTC) + timedelta(days=_NEAR_END)
    for file in sorted(directory.glob("host/*/*.crt")):
        ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
        if ends < soon:
            yield Issued(ends, file.parent.name, file.stem)


class IssuedStore:
    """Authorities, certificates and keys under ``directory``; what is asked for and missing is made.

    All but :meth:`locked` is for the holder of the lock.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store alone: the master renders the pillars of many minions at once, in several processes."""
        with ExitStack() as hold:
            try:
                hold.enter_context(locks.held(self.directory / ".lock"))
            except OSError as error:
                raise PkiError(
                    f"the store of issued certificates cannot be opened: {error.strerror}", file=self.directory
                ) from error
            yield

    def authority(self, name: str) -> Authority:
        """The authority of that name. Raises :class:`PkiError` when what is stored of it is damaged."""
        certificate, key = (self.directory / "authority" / f"{name}.{part}" for part in ("crt", "key"))
        if not certificate.exists():
            # The certificate is written last: without it the key has signed nothing and may be made again.
            made = Authority.create(name)
            _write(key, made.key_pem)
            _write(certificate, made.certificate_pem)
        try:
            return Authority.load(certificate.read_bytes(), key.read_bytes())
        except (OSError, ValueError) as error:
            raise PkiError(
                f"the authority {name!r} cannot be read: {error}",
                file=certificate,
                hint="restore both files from a backup, or remove both to start a new authority",
            ) from error

    def certificate(self, minion: str, request: CertificateRequest) -> dict[str, str]:
        """The minion's certificate for a request: the stored one while it holds, else a new one with a new key."""
        authority = self.authority(request.ca)
        base = self.directory / "host" / minion
        stored = {part: base / f"{request.name}.{part}" for part in ("key", "crt", "json")}
        stands = all(file.exists() for file in stored.values()) and stored["json"].read_text() == request.as_json()
        if not stands or not authority.vouches_for(stored["crt"].read_bytes()):
            key, certificate = authority.sign(request)
            # The request is written last and stands for all three: killed in between, everything is made again.
            stored["json"].unlink(missing_ok=True)
            _write(stored["key"], key)
            _write(stored["crt"], certificate)
            _write(stored["json"], request.as_json().encode())
        return {
            "certificate": stored["crt"].read_text(),
            "key": stored["key"].read_text(),
            "ca_certificate": authority.certificate_pem.decode(),
        }

    def keep(self, minion: str, names: Collection[str]) -> None:
        """Drop certificates of the minion that it asks for no more: all but those called ``names``."""
        base = self.directory / "host" / minion
        for file in base.iterdir() if base.is_dir() else ():
            if file.stem not in names:
                file.unlink()

    def key(self, request: KeyRequest) -> dict[str, Any]:
        """The deployment's key of that name. Of type ``aes``: beside it ``keys``, by serial, with the next one and
        those before, which open what is in backups. Of type ``rsa``: beside it ``public``.

        Raises :class:`PkiError` for a serial that hosts were not prepared for, and when what is stored is damaged.
        """
        if request.kind == "aes":
            found = self._serials(request)
            serials = sorted(found | {request.serial, request.serial + 1})
            keys = {str(each): self._key(request, each) for each in serials}
            return {"key": keys[str(request.serial)], "serial": request.serial, "keys": keys}
        text = self._key(request, request.serial)
        try:
            return {"key": text, "public": public(text.encode())}
        except ValueError as error:
            file = self._key_file(request, request.serial)
            raise PkiError(f"the key {request.name!r} cannot be read: {error}", file=file) from error

    def _key(self, request: KeyRequest, serial: int) -> str:
        file = self._key_file(request, serial)
        if not file.exists():
            _write(file, KEY_TYPES[request.kind]())
        return file.read_text()

    def _key_file(self, request: KeyRequest, serial: int) -> Path:
        # No name holds the sign, so no other has this file.
        return self.directory / "key" / f"{request.name}{f'@{serial}' if serial > 1 else ''}.{request.kind}"

    def _serials(self, request: KeyRequest) -> set[int]:
        """The serials that there are. Raises :class:`PkiError` where there are some, and the request's is none."""
        found = {
            int(file.stem.partition("@")[2]) for file in self.directory.glob(f"key/{request.name}@*.{request.kind}")
        }
        if self._key_file(request, 1).exists():
            found.add(1)
        if found and request.serial not in found:
            raise PkiError(
                f"pki:key:{request.name}:serial: found {request.serial}, and hosts know {sorted(found)}",
                hint="Go up by one, deploy, and then by one again.",
            )
        return found


def _write(path: Path, data: bytes) -> None:
    try:
        # Parents that mkdir makes on the way would get the mode of the umask, not 0700.
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        files.write(path, data, mode=0o600)
    except OSError as error:
        raise PkiError(f"cannot be written: {error.strerror}", file=path) from error
