"""Block-style YAML, as models are written in it, read fast by regular expression.

The reader takes only text whose meaning it is sure of and otherwise gives up. It and PyYAML return the same data for
every text that it takes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from pillarbox.model import limits
from pillarbox.model.read.pyyaml import Loader
from pillarbox.model.read.scalars import IMPLICIT_FIRST, Undecided, resolve

# indent, dash, key, the rest of the line
_LINES = re.compile(r"^( *)(-(?: +|$))?(?:([A-Za-z0-9_/~=.$(][^\s:#]*(?: [^\s:#]+)*):(?: +|$))?(.*)$", re.MULTILINE)
_STRANGE = re.compile("[^\n -~\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_DOCUMENT = re.compile(r"^(?:---|\.\.\.|%)", re.MULTILINE)
_INDICATORS = frozenset("-?:,[]{}#&*!|>'\"%@`")
_SINGLE = re.compile(r"'((?:[^']|'')*)' *(?: #.*)?")
_DOUBLE = re.compile(r'"([^"\\]*)" *(?: #.*)?')
_ESCAPED = re.compile(r'"(?:[^"\\]|\\.)*" *')
_BLOCK = re.compile(r"([|>])([-+]?) *(?: #.*)?")
_LONG = re.compile("[^\n]{1000}")

_Line = tuple[str, str, str, str]


def load(text: str) -> Any:
    """The one document in ``text``; ``None`` when it is empty. Raises :class:`Undecided` for what PyYAML must read."""
    return _BlockReader(text).document()


class _BlockReader:
    """One text of block style."""

    def __init__(self, text: str) -> None:
        if text.startswith("---\n"):
            # Keeps the line numbers.
            text = "#" + text[3:]
        if _STRANGE.search(text) or _DOCUMENT.search(text):
            raise Undecided
        self.text = text
        self.tokens: list[_Line] = _LINES.findall(text)
        self.count = len(self.tokens)
        self.position = 0
        self.raw: list[str] | None = None
        if _LONG.search(text) and any(len(token[2]) > 999 for token in self.tokens):
            # Simple keys end at 1024 characters.
            raise Undecided

    def document(self) -> Any:
        token = self.content()
        if token is None:
            return None
        if not (token[2] or token[1]):
            raise Undecided
        value = self.block(len(token[0]), 0)
        if self.content() is not None:
            raise Undecided
        return value

    def content(self) -> _Line | None:
        """The next line that is neither blank nor a comment, not consumed."""
        tokens, position, count = self.tokens, self.position, self.count
        while position < count:
            token = tokens[position]
            if token[2] or token[1] or (token[3] and token[3][0] != "#"):
                self.position = position
                return token
            position += 1
        self.position = position
        return None

    def block(self, indent: int, depth: int) -> Any:
        if depth > limits.DEPTH:
            raise Undecided
        if self.tokens[self.position][1]:
            return self.sequence(indent, depth)
        out: dict[Any, Any] = {}
        self.mapping(out, indent, depth)
        return out

    def mapping(self, out: dict[Any, Any], indent: int, depth: int) -> None:
        tokens, count = self.tokens, self.count
        while self.position < count:
            space, dash, key, rest = tokens[self.position]
            if not key and not dash and (not rest or rest[0] == "#"):
                self.position += 1
                continue
            width = len(space)
            if width < indent:
                return
            if width > indent or not key:
                raise Undecided
            if dash:
                # A sequence where a key was expected.
                raise Undecided
            self.position += 1
            out[resolve(key) if key[0] in IMPLICIT_FIRST else key] = (
                self.value(rest, indent, depth) if rest else self.nested(indent, True, depth)
            )

    def sequence(self, indent: int, depth: int) -> list[Any]:
        out: list[Any] = []
        tokens, count = self.tokens, self.count
        while self.position < count:
            space, dash, key, rest = tokens[self.position]
            if not key and not dash and (not rest or rest[0] == "#"):
                self.position += 1
                continue
            width = len(space)
            if width < indent or (width == indent and not dash):
                break
            if width > indent:
                raise Undecided
            self.position += 1
            if key:
                column = indent + len(dash)
                item: dict[Any, Any] = {}
                item[resolve(key) if key[0] in IMPLICIT_FIRST else key] = (
                    self.value(rest, column, depth) if rest else self.nested(column, True, depth)
                )
                if self.position < count:
                    self.mapping(item, column, depth + 1)
                out.append(item)
            elif rest:
                out.append(self.value(rest, indent, depth))
            else:
                out.append(self.nested(indent, False, depth))
        return out

    def nested(self, indent: int, in_mapping: bool, depth: int) -> Any:
        """What stands below a key or a dash that ends its line."""
        token = self.content()
        if token is None:
            return None
        width = len(token[0])
        if width > indent:
            if not (token[2] or token[1]):
                raise Undecided
            return self.block(width, depth + 1)
        if width == indent and in_mapping and token[1]:
            return self.sequence(indent, depth + 1)
        return None

    def value(self, rest: str, indent: int, depth: int) -> Any:
        """What stands in a line behind a key or dash; ``indent`` is the column of that key or dash."""
        first = rest[0]
        if first in _INDICATORS:
            return self.special(rest, first, indent, depth)
        cut = rest.find(" #")
        if cut >= 0:
            rest = rest[:cut]
        if rest[-1] == " ":
            rest = rest.rstrip(" ")
        if ": " in rest or rest[-1] == ":":
            raise Undecided
        return resolve(rest) if first in IMPLICIT_FIRST else rest

    def special(self, rest: str, first: str, indent: int, depth: int) -> Any:
        if first == '"':
            match = _DOUBLE.fullmatch(rest)
            if match:
                return match[1]
            if _ESCAPED.fullmatch(rest):
                return self.alone(rest)
        elif first == "'":
            match = _SINGLE.fullmatch(rest)
            if match:
                return match[1].replace("''", "'")
        elif first == "#":
            # Only spaces separate the key from the comment.
            return self.nested(indent, bool(self.tokens[self.position - 1][2]), depth)
        elif first == "-":
            if len(rest) > 1 and rest[1] != " ":
                cut = rest.find(" #")
                text = (rest[:cut] if cut >= 0 else rest).rstrip(" ")
                if ": " not in text and text[-1] != ":":
                    return resolve(text)
        elif first in "[{":
            if rest == "[]":
                return []
            if rest == "{}":
                return {}
            text = rest.rstrip(" ")
            if text[-1] in "]}" and "&" not in text and "*" not in text:
                return self.alone(text)
        elif first in "|>":
            match = _BLOCK.fullmatch(rest)
            if match and match[1] == "|" and match[2] != "+":
                return self.literal(indent, match[2] == "")
            if match:
                return self.folded(rest, indent)
        raise Undecided

    def alone(self, text: str) -> Any:
        """A quoted scalar or flow collection that is whole on its line: the same value as in a document of its own."""
        if text.count("[") + text.count("{") > limits.DEPTH:
            raise Undecided
        try:
            return yaml.load(text, Loader=Loader)
        except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
            raise Undecided from error

    def lines(self, indent: int) -> list[str]:
        """The raw lines of the block scalar that starts at the current position."""
        if self.raw is None:
            self.raw = self.text.split("\n")
        raw, start, end = self.raw, self.position, self.position
        while end < self.count:
            line = raw[end]
            if line and line[: indent + 1].strip(" "):
                break
            end += 1
        if end == self.count and raw[-1]:
            # No line end at the end of the file: chomping has its own rules there.
            raise Undecided
        self.position = end
        return raw[start:end]

    def literal(self, indent: int, keep_end: bool) -> str:
        lines = self.lines(indent)
        first = next((line for line in lines if line.strip(" ")), None)
        if first is None:
            raise Undecided
        width = len(first) - len(first.lstrip(" "))
        out = []
        for line in lines:
            if line[:width].strip(" "):
                raise Undecided
            if len(line) > width and not line.strip(" "):
                raise Undecided
            out.append(line[width:])
        while not out[-1]:
            out.pop()
        return "\n".join(out) + ("\n" if keep_end else "")

    def folded(self, header: str, indent: int) -> Any:
        body = "\n".join(self.lines(indent))
        if not body.strip(" \n"):
            raise Undecided
        text = f"k: {header}\n{body}\n" if self.position < self.count else f"k: {header}\n{body}"
        try:
            return yaml.load(text, Loader=Loader)["k"]
        except (yaml.YAMLError, TypeError, KeyError) as error:
            raise Undecided from error
