"""Keeping secrets out of texts that people will read."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote


class Scrubber:
    """Takes secret values out of texts: logs of containers, messages of an API server.

    ``secrets`` are the values in clear; their base64 and URL-quoted forms are taken out as well.
    """

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        values: set[str] = set()
        for secret in secrets:
            clear = secret.decode("utf-8", "replace")
            # A file's worth of secrets (a key, a config) leaks line by line.
            for part in {clear.strip(), *(line.strip() for line in clear.splitlines())}:
                values |= {part, quote(part, safe=""), base64.b64encode(secret).decode()}
        # Very short values are words of ordinary text; blotting them out would hide the text, not the secret.
        self._values = sorted((value for value in values if len(value) >= 5), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, "***")
        return text
