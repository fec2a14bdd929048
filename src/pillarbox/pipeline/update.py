"""What git tells its hooks: which ref goes from which commit to which."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from pillarbox.system.errors import PillarboxError


@dataclass(frozen=True)
class Update:
    """One line of what git passes to a hook: a ref and its value before and after."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        """Whether the ref goes away."""
        return not self.new.strip("0")

    @property
    def creates(self) -> bool:
        """Whether the ref is new."""
        return not self.old.strip("0")


def updates(lines: Iterable[bytes]) -> tuple[Update, ...]:
    """What a hook reads on its standard input; a ref may be called by any bytes.

    Raises :class:`PillarboxError` for a line that git does not write.
    """
    return tuple(_update(os.fsdecode(line)) for line in (line.strip() for line in lines) if line)


def _update(line: str) -> Update:
    parts = line.split(None, 2)
    if len(parts) != 3:
        raise PillarboxError(
            f"expected a line `OLD NEW REF` on standard input, found {line!r}", hint="Let git run the hooks, by a push."
        )
    return Update(*parts)
