"""What was issued, on the master's disk.

Below the directory: ``authority/<ca>.key|crt``, ``host/<minion>/<name>.key|crt|json``, ``key/<name>.<type>``.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pillarbox.pki.authority import Authority
from pillarbox.pki.errors import PkiError
from pillarbox.pki.key import KEY_TYPES, public
from pillarbox.pki.request import CertificateRequest, KeyRequest


class IssuedStore:
    """Authorities, certificates and keys under ``directory``; what is asked for and missing is made.

    All but :meth:`locked` is for the holder of the lock.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store alone: the master renders the pillars of many minions at once, in several processes."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PkiError(
                f"the store of issued certificates cannot be opened: {error.strerror}", file=self.directory
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

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
        files = {part: base / f"{request.name}.{part}" for part in ("key", "crt", "json")}
        stands = all(file.exists() for file in files.values()) and files["json"].read_text() == request.as_json()
        if not stands or not authority.vouches_for(files["crt"].read_bytes()):
            key, certificate = authority.sign(request)
            # The request is written last and stands for all three: killed in between, everything is made again.
            files["json"].unlink(missing_ok=True)
            _write(files["key"], key)
            _write(files["crt"], certificate)
            _write(files["json"], request.as_json().encode())
        return {
            "certificate": files["crt"].read_text(),
            "key": files["key"].read_text(),
            "ca_certificate": authority.certificate_pem.decode(),
        }

    def key(self, request: KeyRequest) -> dict[str, str]:
        """The deployment's key of that name; ``public`` beside it where the type has a public half."""
        file = self.directory / "key" / f"{request.name}.{request.kind}"
        if not file.exists():
            _write(file, KEY_TYPES[request.kind]())
        text = file.read_text()
        if request.kind != "rsa":
            return {"key": text}
        try:
            return {"key": text, "public": public(text.encode())}
        except ValueError as error:
            raise PkiError(f"the key {request.name!r} cannot be read: {error}", file=file) from error


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
