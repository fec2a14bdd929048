"""The base of every error that a user can cause or correct."""

from __future__ import annotations

from pathlib import Path


class PillarboxError(Exception):
    """An expected failure, worded for the person at the terminal.

    ``message`` says what was expected and what was found, ``file`` and ``line`` (1-based) where, and ``hint`` what to
    do about it. Rooms subclass it for what they can fail at; only ``cli`` and ``salt`` turn it into an exit code or a
    return value.
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = str(file) if file is not None else None
        self.line = line
        self.hint = hint

    @property
    def place(self) -> str:
        """``file:line``, ``file``, or an empty string where no file is to blame."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}" if self.line is not None else self.file

    def as_dict(self) -> dict[str, str | int | None]:
        """The error as plain data, for ``--format json`` and Salt returns."""
        return {"error": self.message, "file": self.file, "line": self.line, "hint": self.hint}

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class Interrupted(PillarboxError):
    """Something outside ended the work, by no fault of what the work is about: it may be taken up again."""


class Unavailable(Interrupted):
    """Something that the work needs does not answer now: a registry, the container engine, the network."""


class ErrorGroup(PillarboxError):
    """Several errors found in one run, reported together and once each; groups among them are taken apart."""

    def __init__(self, errors: list[PillarboxError]) -> None:
        # A broken class is an error of every node that uses it, in the same words.
        once: dict[str, PillarboxError] = {}
        for error in errors:
            for each in error.errors if isinstance(error, ErrorGroup) else (error,):
                once.setdefault(str(each), each)
        super().__init__(f"{len(once)} errors")
        self.errors: tuple[PillarboxError, ...] = tuple(once.values())

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def raise_all(errors: list[PillarboxError]) -> None:
    """Raise what was collected: nothing for none, the error itself for one, an :class:`ErrorGroup` for more."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ErrorGroup(errors)
