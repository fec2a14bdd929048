"""Secrets that must not be baked: finding them among static parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from pillarbox.images.dynamic import PLACEHOLDER, Path, strings

HINT = "Secrets are always dynamic: write $NAME and supply NAME from a Secret under kubernetes:control."
SECRET_KEY = re.compile(r"(^|[_-])(password|passwd|passphrase|secret|token|key)s?$", re.IGNORECASE)
# Keys that end in such a word and name no secret.
HARMLESS_KEY = re.compile(r"(^|[_-])(public|primary|foreign|sort|routing|partition)[_-]keys?$", re.IGNORECASE)
FILE = re.compile(r"^(/[\w.@-]+)+/?$")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
PGP = re.compile(r"-----BEGIN PGP ")
CREDENTIALS = re.compile(r"://[^/@:\s$]*:(?P<password>[^/@\s$]+)@")


def baked(data: Any, public: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
    """Each secret that stands in ``data`` in the clear or encrypted: its path and what gave it away.

    ``public`` are the paths (keys joined by colons) that the model declares to be no secret. An encrypted value is
    never public: nobody encrypts what everyone may read.
    """
    for path, text in strings(data):
        if PGP.search(text):
            yield path, "holds a PGP block"
        elif ":".join(path) in public:
            continue
        elif PRIVATE_KEY.search(text):
            yield path, "holds a private key"
        elif CREDENTIALS.search(text):
            yield path, "holds a URL with a password"
        elif text.strip() and not PLACEHOLDER.search(text) and _names_secret(path) and not FILE.match(text):
            yield path, "is named like a secret and has a value"


def _names_secret(path: Path) -> bool:
    named = [part for part in path if not part.isdigit()]
    return bool(named) and bool(SECRET_KEY.search(named[-1])) and not HARMLESS_KEY.search(named[-1])
