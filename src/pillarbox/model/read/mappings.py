"""Class mappings: classes that nodes get by their name (``class_mappings`` in the configuration)."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pillarbox.model.errors import ModelError
from pillarbox.model.read.settings import CONFIG
from pillarbox.system.errors import PillarboxError, raise_all

Matcher = Callable[[str], list[str]]


@dataclass(frozen=True)
class ClassMapping:
    """One mapping: a glob, or a regular expression between slashes, and the classes of the names that match."""

    text: str
    pattern: re.Pattern[str] | str
    classes: tuple[str, ...]

    def match(self, name: str) -> list[str]:
        """The classes for ``name``; groups of the expression are filled into them."""
        if isinstance(self.pattern, str):
            return list(self.classes) if fnmatch.fnmatchcase(name, self.pattern) else []
        found = self.pattern.search(name)
        return [found.expand(each) for each in self.classes] if found else []


def parse_mappings(texts: Sequence[str]) -> tuple[ClassMapping, ...]:
    """Parse the option's list. Raises every entry that does not read."""
    parsed: list[ClassMapping] = []
    errors: list[PillarboxError] = []
    for text in texts:
        try:
            parsed.append(_parse(text))
        except (ValueError, re.error) as error:
            errors.append(ModelError(f"class mapping {text!r}: {error}", file=CONFIG))
    raise_all(errors)
    return tuple(parsed)


def _parse(text: str) -> ClassMapping:
    if not text:
        raise ValueError("expected PATTERN CLASS..., found nothing")
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    is_expression = text[0] == "/"
    if is_expression:
        lexer.quotes += "/"
        lexer.escapedquotes += "/"
    key, *classes = list(lexer)
    if not key:
        raise ValueError("expected a pattern")
    return ClassMapping(text, re.compile(key) if is_expression else key, tuple(classes))
