"""Secrets that must not be baked: finding them among static parameters.

A name gives most of them away, by its last word: ``admin_pass``, ``dbPassword``, ``api-key``. What stands below the
name of a password, in a list or mapping, is one as well. A value is fine when placeholders are all that there is to
it: ``Pa$SWORD1`` is a password with a dollar in it, not the dynamic parameter ``SWORD1``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pillarbox.images.dynamic import PLACEHOLDER, Path

HINT = (
    "Secrets are always dynamic: write $NAME and supply NAME from a Secret under kubernetes:control. "
    "What is no secret is named in image:public."
)
FILE = re.compile(r"^(/[\w.@-]+)+/?$")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
PGP = re.compile(r"-----BEGIN PGP ")
CREDENTIALS = re.compile(r"://[^/@:\s]*:(?P<password>[^/@\s]+)@")
#: Stands for a placeholder while a value is looked at.
FILLED = "\0"
#: What may stand beside placeholders: the scheme of a header, and what joins two of them.
JOINING = re.compile(r"^(basic|bearer) |[\s:;,@/_-]", re.IGNORECASE)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PASSWORD = re.compile(
    r"(cred|credential|pass|passcode|passphrase|passwd|password|psk|pwd|secret)"
    # Written in one with the word before it.
    r"|.+(passphrase|passwd|password|secret|(?<!by)(?<!com)(?<!over)(?<!tres)pass)"
)
_KEY = re.compile(r"(key|token)|(access|api|auth)(key|token)")
# Keys in the sense of databases and messages, the half that everyone may have, and where a web server passes requests.
_HARMLESS = {
    "fastcgi", "foreign", "grpc", "partition", "primary", "proxy", "public", "routing", "scgi", "sort", "uwsgi",
}  # fmt: skip
# What stands beside passwords among credentials, and says how they are made.
_BESIDE = {
    "algorithm", "backend", "domain", "driver", "email", "file", "format", "group", "host", "id", "login", "method",
    "mode", "name", "namespace", "path", "policy", "port", "project", "provider", "realm", "region", "role", "scheme",
    "type", "url", "user", "username",
}  # fmt: skip


@dataclass(frozen=True)
class _Name:
    """A key of the pillar, by its words in lower case: ``adminPasswords2`` is admin, passwords."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, key: str) -> _Name:
        return cls(tuple(word.lower() for word in _WORD.findall(key)))

    @property
    def last(self) -> str:
        """The last word, in the singular."""
        word = self.words[-1] if self.words else ""
        return word if word.endswith("ss") else word.removesuffix("s")

    @property
    def is_plural(self) -> bool:
        return bool(self.words) and self.words[-1] != self.last

    @property
    def is_password(self) -> bool:
        """Whether what has this name is a password, or holds some."""
        return bool(_PASSWORD.fullmatch(self.last)) and not _HARMLESS.intersection(self.words[-2:-1])

    @property
    def is_key(self) -> bool:
        """Whether a text of this name is a secret; below it may stand anything, as in ``tokens: {count: 3}``."""
        return bool(_KEY.fullmatch(self.last)) and not _HARMLESS.intersection(self.words[-2:-1])

    @property
    def is_beside(self) -> bool:
        return self.last in _BESIDE


def baked(data: Any, public: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
    """Each secret that stands in ``data`` in the clear or encrypted: its path and what gave it away.

    ``public`` are the paths (keys joined by colons) that the model declares to be no secret; of a mapping or list, all
    that is in it. An encrypted value is never public: nobody encrypts what everyone may read.
    """
    for path, value in _scalars(data):
        text = PLACEHOLDER.sub(FILLED, value) if isinstance(value, str) else str(value)
        if PGP.search(text):
            yield path, "holds a PGP block"
        elif any(":".join(path[:count]) in public for count in range(1, len(path) + 1)):
            continue
        elif PRIVATE_KEY.search(text):
            yield path, "holds a private key"
        elif any(_says_something(found["password"]) for found in CREDENTIALS.finditer(text)):
            yield path, "holds a URL with a password"
        elif _says_something(text) and (_text(path, text) if isinstance(value, str) else _number(path)):
            yield path, "is named like a secret and has a value"


def _scalars(data: Any, path: Path = ()) -> Iterator[tuple[Path, str | int | float]]:
    """Every string and number in ``data`` with the keys and list indices that lead to it."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _scalars(value, (*path, str(key)))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _scalars(value, (*path, str(index)))
    elif isinstance(data, str | int | float) and not isinstance(data, bool):
        yield path, data


def _says_something(text: str) -> bool:
    """Whether there is more to a value than placeholders."""
    return bool((JOINING.sub("", text).replace(FILLED, "")) if FILLED in text else text.strip())


def _names(path: Path) -> list[_Name]:
    return [_Name.of(part) for part in path if not part.isdigit()]


def _text(path: Path, text: str) -> bool:
    """Whether a text at ``path`` is a secret; a file that holds one is none."""
    names = _names(path)
    if names and names[-1].is_password:
        return True
    return bool(names) and (names[-1].is_key or _among_passwords(names)) and not FILE.match(text)


def _number(path: Path) -> bool:
    """Whether a number at ``path`` is a secret, and not how many there may be, or how long they are."""
    names = _names(path)
    if not names:
        return False
    *above, own = names
    if own.is_password:
        return not own.is_plural or path[-1].isdigit()
    if own.is_key:
        return not own.is_plural and own.words != ("key",)
    return any(name.is_password and name.is_plural for name in above) and _among_passwords(names)


def _among_passwords(names: list[_Name]) -> bool:
    """Whether a value stands in a mapping of passwords, and is one."""
    *above, own = names
    if not any(name.is_password for name in above):
        return False
    # The keys of `passwords: {user: …}` say whose each is, those of `credentials: {user: …, …}` what each is.
    whose = above[-1].is_password and above[-1].is_plural and not above[-1].last.startswith("cred")
    return whose or not own.is_beside
