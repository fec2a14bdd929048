"""Inventory queries: ``$[ exports:a ]``, ``$[ exports:a if exports:b == self:c ]``, ``$[ if exports:b == 1 ]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Split = Callable[[str], tuple[str, ...]]

_OPTION = re.compile(r"\s*(\+IgnoreErrors|\+AllEnvs)", re.IGNORECASE)
_IF = re.compile(r"\s*if", re.IGNORECASE)
_TEST = re.compile(r"\s*(==|!=)")
_LOGIC = re.compile(r"\s*(and|or)", re.IGNORECASE)
_WORD = re.compile(r"\s*([!-~]+)")
_INTEGER = re.compile(r"\s*(-?[0-9]+)(?![!-~])")
_REAL = re.compile(r"\s*(-?(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+\.))")
_END = re.compile(r"\s*\Z")


class QueryError(Exception):
    """A query does not read as one."""


@dataclass(frozen=True)
class Condition:
    """One comparison of an export with a parameter of the asking node (``own``) or with a value."""

    export: tuple[str, ...]
    equal: bool
    own: tuple[str, ...] | None
    value: Any


@dataclass(frozen=True)
class Query:
    """A parsed query.

    ``value`` is the export that is asked for, or ``None`` where names of nodes are. ``tests`` are taken from left to
    right, joined by ``operators`` (``and``, ``or``), neither of which binds closer.
    """

    text: str
    value: tuple[str, ...] | None
    tests: tuple[Condition, ...]
    operators: tuple[str, ...]
    ignore_errors: bool | None
    all_environments: bool

    def accepts(self, exports: Mapping[str, Any], own: Callable[[tuple[str, ...]], Any]) -> bool:
        """Whether a node with these exports answers the query; ``own`` looks up a parameter of the asking node."""
        result = True
        for number, test in enumerate(self.tests):
            expected = test.value if test.own is None else own(test.own)
            found = lookup(exports, test.export)
            outcome = found is not MISSING and (found == expected) is test.equal
            if number == 0:
                result = outcome
            elif self.operators[number - 1] == "and":
                result = result and outcome
            else:
                result = result or outcome
        return result

    def paths(self) -> tuple[tuple[str, ...], ...]:
        """Every export that the query looks at."""
        tested = tuple(test.export for test in self.tests)
        return tested if self.value is None else (*tested, self.value)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


def lookup(data: Any, path: tuple[str, ...]) -> Any:
    """The value at ``path`` in plain data, or :data:`MISSING`; list items go by their index."""
    for part in path:
        if isinstance(data, dict):
            if part not in data:
                return MISSING
            data = data[part]
        elif isinstance(data, list):
            try:
                data = data[int(part)]
            except (ValueError, IndexError):
                return MISSING
        else:
            return MISSING
    return data


def parse_query(text: str, split: Split) -> Query:
    """Parse what stands between ``$[`` and ``]``. Raises :class:`QueryError`."""
    options: set[str] = set()
    at = 0
    while match := _OPTION.match(text, at):
        options.add(match[1].lower())
        at = match.end()
    reader = _QueryReader(text, at, split)
    value, tests, operators = reader.read()
    return Query(
        text=text.strip(),
        value=value,
        tests=tests,
        operators=operators,
        ignore_errors=("+ignoreerrors" in options) if options else None,
        all_environments="+allenvs" in options,
    )


class _QueryReader:
    def __init__(self, text: str, at: int, split: Split) -> None:
        self.text = text
        self.start = at
        self.at = at
        self.split = split

    def read(self) -> tuple[tuple[str, ...] | None, tuple[Condition, ...], tuple[str, ...]]:
        word = self.take(_WORD)
        if word is not None:
            if self.take(_IF, 0) is not None:
                tested = self.tests()
                if tested is not None:
                    return self.export(word), *tested
            elif self.ended():
                return self.export(word), (), ()
        self.at = self.start
        if self.take(_IF, 0) is not None:
            tested = self.tests()
            if tested is not None:
                return None, *tested
        raise QueryError(
            f"expected 'exports:NAME', 'exports:NAME if TEST' or 'if TEST' in an inventory query, found: {self.text}"
        )

    def tests(self) -> tuple[tuple[Condition, ...], tuple[str, ...]] | None:
        tests: list[Condition] = []
        operators: list[str] = []
        while True:
            left = self.item()
            operator = self.take(_TEST) if left is not None else None
            right = self.item() if operator is not None else None
            if left is None or operator is None or right is None:
                return None
            tests.append(self.test(left, operator, right))
            if self.ended():
                return tuple(tests), tuple(operators)
            logic = self.take(_LOGIC)
            if logic is None:
                return None
            operators.append(logic.lower())

    def test(self, left: Any, operator: str, right: Any) -> Condition:
        export: tuple[str, ...] | None = None
        own: tuple[str, ...] | None = None
        value: Any = None
        for item in (left, right):
            if not isinstance(item, str):
                value = item
                continue
            path = self.split(item)
            head = path[0].lower()
            if head == "exports":
                export = path[1:]
            elif head == "self":
                own = path[1:]
            elif head in ("true", "false"):
                value = head == "true"
            else:
                value = item
        if export is None:
            raise QueryError(f"expected a test to compare an export (exports:NAME), found: {self.text}")
        if own is None and value is None:
            raise QueryError(f"expected a test to compare an export with a value or with self:NAME, found: {self.text}")
        return Condition(export, operator == "==", own, value)

    def export(self, word: str) -> tuple[str, ...]:
        return self.split(word)[1:]

    def item(self) -> Any:
        number = self.take(_INTEGER)
        if number is not None:
            return int(number)
        number = self.take(_REAL)
        if number is not None:
            return float(number)
        return self.take(_WORD)

    def take(self, pattern: re.Pattern[str], group: int = 1) -> str | None:
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[group]

    def ended(self) -> bool:
        return _END.match(self.text, self.at) is not None
