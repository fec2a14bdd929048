"""Strings that hold references (``${a:b}``) and inventory queries (``$[ … ]``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pillarbox.model.merge.query import Query, QueryError, parse_query


class TemplateError(Exception):
    """A reference or query is opened and not closed, or is empty."""


@dataclass(frozen=True)
class Reference:
    """A reference; ``path`` is set when no other reference stands inside it."""

    parts: tuple[Part, ...]
    path: tuple[str, ...] | None

    @property
    def text(self) -> str:
        """What stands between the sentinels, references inside included."""
        return "".join(part if isinstance(part, str) else f"${{{part.text}}}" for part in self.parts)


Part = str | Reference | Query


@dataclass(frozen=True)
class Syntax:
    """The characters that give strings a meaning, from the settings."""

    reference: tuple[str, str]
    export: tuple[str, str]
    escape: str
    delimiter: str

    def split(self, text: str) -> tuple[str, ...]:
        """The keys that a reference's text names."""
        if self.escape not in text:
            return tuple(text.split(self.delimiter))
        return tuple(re.split(r"(?<!\\)" + re.escape(self.delimiter), text))

    def is_template(self, text: str) -> bool:
        """Whether ``text`` opens a reference or a query."""
        return self.reference[0] in text or self.export[0] in text


@lru_cache(maxsize=1 << 15)
def parse(text: str, syntax: Syntax) -> tuple[Part, ...]:
    """The literal strings, references and queries of ``text``, in order.

    Raises :class:`TemplateError`, and :class:`~pillarbox.model.merge.query.QueryError` for the inside of a query.
    """
    return _Parser(text, syntax).parse()


class _Parser:
    """The grammar of kapicorp-reclass: an escape counts only before a sentinel, at the place where one may stand."""

    def __init__(self, text: str, syntax: Syntax) -> None:
        self.text = text
        self.syntax = syntax
        self.opens = (syntax.reference[0], syntax.export[0])
        self.closes = (syntax.reference[1], syntax.export[1])
        escape = syntax.escape
        self.sentinels = (*self.opens, *self.closes)
        self.doubles = tuple(escape * 2 + sentinel for sentinel in self.sentinels)
        opened, closed = syntax.reference
        queried, ended = syntax.export
        self.top_stops = _stops(escape, opened, queried)
        self.ref_stops = _stops(escape, opened, closed)
        self.query_stops = _stops(escape, ended)
        self.top_run = _run("".join((escape, *self.opens, *self.closes)))
        self.ref_run = _run("".join((escape, opened, closed)))
        self.query_run = _run(ended[0])

    def parse(self) -> tuple[Part, ...]:
        text, end = self.text, len(self.text)
        opened, queried = self.opens
        escape = self.syntax.escape
        parts: list[Part] = []
        at = 0
        while at < end:
            if text.startswith(opened, at):
                ref, at = self.reference(at, 1)
                parts.append(ref)
                continue
            if text.startswith(queried, at):
                query, at = self.query(at)
                parts.append(query)
                continue
            literal, at = self.literal(at, (escape + opened, escape + queried), self.top_stops, self.top_run, None)
            _join(parts, literal)
        return tuple(parts)

    def reference(self, start: int, depth: int) -> tuple[Reference, int]:
        text = self.text
        opened, closed = self.syntax.reference
        escape = self.syntax.escape
        if depth > 50:
            raise TemplateError("references nest deeper than 50 levels")
        at = start + len(opened)
        parts: list[Part] = []
        while not text.startswith(closed, at) or not parts:
            if at >= len(text) or text.startswith(closed, at):
                raise TemplateError(_unclosed(text, start, opened, closed, at))
            if text.startswith(opened, at):
                ref, at = self.reference(at, depth + 1)
                parts.append(ref)
                continue
            literal, at = self.literal(at, (escape + opened, escape + closed), self.ref_stops, self.ref_run, closed[0])
            if not literal:
                raise TemplateError(_unclosed(text, start, opened, closed, at))
            _join(parts, literal)
        only = parts[0] if len(parts) == 1 else None
        path = self.syntax.split(only) if isinstance(only, str) else None
        return Reference(tuple(parts), path), at + len(closed)

    def query(self, start: int) -> tuple[Query, int]:
        text = self.text
        opened, closed = self.syntax.export
        escape = self.syntax.escape
        at = start + len(opened)
        found: list[Part] = []
        while not text.startswith(closed, at) or not found:
            if at >= len(text) or text.startswith(closed, at):
                raise TemplateError(_unclosed(text, start, opened, closed, at))
            literal, at = self.literal(
                at, (escape + opened, escape + closed), self.query_stops, self.query_run, closed[0]
            )
            if not literal:
                raise TemplateError(_unclosed(text, start, opened, closed, at))
            _join(found, literal)
        expression = "".join(part for part in found if isinstance(part, str))
        return parse_query(expression, self.syntax.split), at + len(closed)

    def literal(
        self, at: int, escapes: tuple[str, str], stops: tuple[str, ...], run: re.Pattern[str], never: str | None
    ) -> tuple[str, int]:
        """One piece of text: an escape sequence, or all up to where a sentinel or escape may stand."""
        text, end = self.text, len(self.text)
        if text.startswith(self.doubles, at):
            return self.syntax.escape, at + 2 * len(self.syntax.escape)
        for escaped in escapes:
            if text.startswith(escaped, at):
                return escaped[len(self.syntax.escape) :], at + len(escaped)
        start = at
        while at < end and not text.startswith(stops, at):
            match = run.match(text, at)
            if match:
                at = match.end()
            elif text[at] == never:
                break
            else:
                at += 1
        return text[start:at], at


def _stops(escape: str, *sentinels: str) -> tuple[str, ...]:
    return tuple(prefix + sentinel for sentinel in sentinels for prefix in ("", escape, escape * 2))


def _run(excluded: str) -> re.Pattern[str]:
    return re.compile("[^" + re.escape(excluded) + "]+")


def _join(parts: list[Part], text: str) -> None:
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    else:
        parts.append(text)


def _unclosed(text: str, start: int, opened: str, closed: str, at: int) -> str:
    shown = text[start : start + 60]
    if text.startswith(closed, at):
        return f"expected a name between {opened} and {closed}, found none: {shown}"
    return f"expected {closed} to close {opened}, found none: {shown}"


__all__ = ["Part", "Query", "QueryError", "Reference", "Syntax", "TemplateError", "parse"]
