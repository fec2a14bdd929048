"""One digest for a piece of plain data."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint(data: Any) -> str:
    """SHA-256, in hex, of ``data`` as canonical JSON: sorted keys, no spaces, UTF-8.

    Equal data gives equal digests whatever the order of its mappings; dates and other YAML scalars that JSON lacks
    count by their text.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
