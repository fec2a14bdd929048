"""Renewing a host's certificates between deploys: of its highstate the files that hold them, and the services that
watch those files. Nothing else of the highstate is applied: the rest is a deploy's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Chunk = Mapping[str, Any]


def certificates(low: Sequence[Chunk]) -> Iterator[Chunk]:
    """Of compiled states those that write a certificate or key of the pillar's ``pki``: as it is (``contents_pillar``),
    or by a template whose context has its name (``certificate``)."""
    for chunk in low:
        if (chunk["state"], chunk["fun"]) == ("file", "managed"):
            context = chunk.get("context")
            named = isinstance(context, Mapping) and "certificate" in context
            if named or str(chunk.get("contents_pillar", "")).startswith("pki:"):
                yield chunk


def users(low: Sequence[Chunk], changed: set[str]) -> Iterator[Chunk]:
    """The services that watch any of the files whose state ids are ``changed``."""
    for chunk in low:
        if (chunk["state"], chunk["fun"]) == ("service", "running") and changed & _watched(chunk):
            yield chunk


def _watched(chunk: Chunk) -> set[str]:
    return {str(name) for each in chunk.get("watch", ()) for kind, name in each.items() if kind == "file"}
