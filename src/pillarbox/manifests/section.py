"""Reading the pillar: every key is asked for by name, and what nobody asked for is an error.

The known keys of a mapping are the ones that the code which reads it asks for, so there is no schema beside the code
that could disagree with it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from pillarbox.manifests import names
from pillarbox.manifests.errors import PillarPlace, Problems
from pillarbox.manifests.openapi import Api
from pillarbox.system.names import did_you_mean

_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([numkKMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_PERCENT = re.compile(r"\d{1,3}%")


def scalar(value: Any) -> str:
    """A YAML scalar as the text that an author of YAML sees in it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class PillarSection:
    """One mapping of the pillar. As a context manager it reports, on leaving, the keys that nobody asked for.

    ``api`` is the API whose fields :meth:`complete` takes; the sections inside have it, too.
    """

    def __init__(self, data: Any, place: PillarPlace, problems: Problems, api: Api | None = None) -> None:
        self.place = place
        self.api = api
        self._problems = problems
        self._asked: set[str] = set()
        self._types: dict[str, tuple[str, ...]] = {}
        self._values: dict[str, tuple[str, Any]] = {}
        if data is not None and not isinstance(data, Mapping):
            self.problem(f"expected a mapping, found {_shown(data)}")
            data = None
        for spelling, value in (data or {}).items():
            key = names.snake(str(spelling))
            if key in self._values:
                self.problem(f"{self._values[key][0]} and {spelling} are one key, given twice")
            self._values[key] = (str(spelling), value)

    def __enter__(self) -> PillarSection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    def close(self) -> None:
        for key, (spelling, _) in self._values.items():
            if key not in self._asked:
                self._problems.add(self.place, f"unknown key {spelling}", self._hint(key), key=spelling)

    @property
    def given(self) -> set[str]:
        """The keys that hold something."""
        return {key for key, (_, value) in self._values.items() if value is not None}

    @property
    def empty(self) -> set[str]:
        """The keys that are there and hold nothing."""
        return self._values.keys() - self.given

    def problem(self, message: str, hint: str | None = None, *, key: str | None = None) -> None:
        self._problems.add(self.place / key if key else self.place, message, hint)

    def complete(self, obj: dict[str, Any], of: str, *but: str) -> dict[str, Any]:
        """``obj`` with the fields of the API's type ``of`` that the pillar has and no other code asks for.

        To be called when all other keys have been asked for. ``but`` are fields, in ``snake_case``, that the pillar
        says by other keys. What is wrong with a field is reported, and left out.
        """
        assert self.api is not None
        self._types[of] = but
        left = [key for key in self._values if key not in self._asked and key not in but]
        if not left:
            return obj
        found, fields = dict(obj), self.api.fields(self.api.type(of))
        for key in left:
            if key not in fields:
                continue
            self._asked.add(key)
            (spelling, value), (field, schema) = self._values[key], fields[key]
            if field in obj and value is not None:
                self._problems.add(self.place / spelling, "other keys say that already")
            if field in obj or value is None:
                continue
            value = self.api.spelled(schema, value)
            mistakes = list(self.api.mistakes(schema, value))
            for mistake in mistakes:
                self._problems.add(self.place.at(spelling, *mistake.path), mistake.message, mistake.hint)
            if not mistakes:
                found[field] = value
        return found

    def ignore(self, *keys: str) -> None:
        """Know ``keys``, which the original formula wrote or its models carry, and do nothing with them."""
        self._asked.update(keys)

    def value(self, key: str, *aliases: str) -> Any:
        """The value of ``key``, under whatever spelling it was given; ``None`` when it is absent or empty."""
        found = None
        for name in (key, *aliases):
            self._asked.add(name)
            if found is None and name in self._values:
                found = self._values[name][1]
        return found

    def spelling(self, key: str) -> str:
        return self._values[key][0] if key in self._values else key

    def text(self, key: str, *aliases: str, default: str | None = None) -> str | None:
        value = self.value(key, *aliases)
        if value is None:
            return default
        if isinstance(value, (Mapping, list)):
            self._expected(key, "text", value)
            return default
        return scalar(value)

    def name(self, key: str, *aliases: str, form: re.Pattern[str] = names.LABEL) -> str | None:
        value = self.text(key, *aliases)
        return self.checked(value, form, key=key) if value is not None else None

    def checked(self, name: str, form: re.Pattern[str], *, key: str | None = None) -> str:
        """``name``, reported when Kubernetes would not take it as a name."""
        if not form.fullmatch(name):
            better = names.slug(name, 15 if form is names.PORT else 63)
            fitting = form.fullmatch(better) is not None
            text = f"{name!r} is not a valid name: expected {_FORMS[form]}"
            self.problem(text, f"{better} would do." if fitting else None, key=key)
        return name

    def number(self, key: str, *aliases: str, low: int = 0, high: int | None = None) -> int | None:
        value = self.value(key, *aliases)
        if value is None:
            return None
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self._expected(key, "a whole number", value)
        elif value < low or (high is not None and value > high):
            self._expected(key, f"a number from {low} to {high}" if high is not None else f"at least {low}", value)
        else:
            return value
        return None

    def port(self, key: str = "port", *aliases: str) -> int | None:
        return self.number(key, *aliases, low=1, high=65535)

    def amount(self, key: str, *aliases: str) -> int | str | None:
        """A count of pods or a percentage of them."""
        value = self.value(key, *aliases)
        if isinstance(value, str) and _PERCENT.fullmatch(value):
            return value
        return self.number(key, *aliases)

    def quantity(self, key: str, *aliases: str) -> str | None:
        value = self.text(key, *aliases)
        if value is not None and not _QUANTITY.fullmatch(value):
            self._expected(key, "a quantity such as 500m or 2Gi", value)
        return value

    def flag(self, key: str, *aliases: str) -> bool | None:
        value = self.value(key, *aliases)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _FLAGS:
            return _FLAGS[value.lower()]
        self._expected(key, "true or false", value)
        return None

    def choice(self, key: str, *aliases: str, among: Iterable[str], default: str | None = None) -> str | None:
        value, options = self.text(key, *aliases), tuple(among)
        if value is None:
            return default
        for option in options:
            if value.lower().replace("_", "") == option.lower().replace("_", ""):
                return option
        hint = did_you_mean(value, options) or f"Known: {', '.join(options)}."
        self.problem(f"unknown {key} {value}", hint, key=self.spelling(key))
        return default

    def words(self, key: str, *aliases: str) -> list[str] | None:
        """A list of texts; a single text is split as a shell would split it."""
        value = self.value(key, *aliases)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return shlex.split(value)
            except ValueError as error:
                self.problem(f"{value!r} does not split into words: {error}", key=self.spelling(key))
                return []
        if not isinstance(value, list):
            self._expected(key, "a list", value)
            return []
        if any(isinstance(word, (Mapping, list)) or word is None for word in value):
            self._expected(key, "a list of texts", value)
            return []
        return [scalar(word) for word in value]

    def texts(self, key: str, *aliases: str) -> dict[str, str]:
        """A mapping of text to text, sorted; also as the formula's list of ``{key|name, value}``."""
        value = self.value(key, *aliases)
        if isinstance(value, Mapping) and set(value) == {"key", "value"}:
            value = [value]
        if isinstance(value, list):
            try:
                value = {item.get("key", item.get("name")): item["value"] for item in value}
            except (AttributeError, KeyError):
                self._expected(key, "a mapping, or a list of {key, value}", value)
                return {}
        if value is None:
            return {}
        if not isinstance(value, Mapping) or any(isinstance(item, (Mapping, list)) for item in value.values()):
            self._expected(key, "a mapping of text to text", value)
            return {}
        return {str(name): "" if item is None else scalar(item) for name, item in sorted(value.items(), key=_by_key)}

    def section(self, key: str, *aliases: str) -> PillarSection:
        value = self.value(key, *aliases)
        return self._inside(value, self.place / self.spelling(key))

    def sections(self, key: str, *aliases: str) -> Iterator[tuple[str, PillarSection]]:
        """The mappings of a mapping, by name, in the order of the pillar; also a list of mappings with a ``name``."""
        value = self.value(key, *aliases)
        place = self.place / self.spelling(key)
        if isinstance(value, list):
            for section in self.items(key, *aliases):
                yield section.text("name", default="") or "", section
        elif isinstance(value, Mapping):
            for name, item in value.items():
                yield str(name), self._inside(item, place / name)
        elif value is not None:
            self._expected(key, "a mapping of names", value)

    def items(self, key: str, *aliases: str, short: str | None = None) -> Iterator[PillarSection]:
        """The mappings of a list; anything else in it stands for a mapping with just the key ``short``."""
        value = self.value(key, *aliases)
        if value is not None and not isinstance(value, list):
            self._expected(key, "a list", value)
        elif value:
            place = self.place / self.spelling(key)
            for index, item in enumerate(value):
                whole = {short: item} if short and not isinstance(item, (Mapping, list)) else item
                yield self._inside(whole if whole is not None else {}, place / index)

    def _inside(self, data: Any, place: PillarPlace) -> PillarSection:
        return PillarSection(data, place, self._problems, self.api)

    def _hint(self, key: str) -> str:
        """What to do about an unknown key."""
        known, released = set(self._asked), None
        for name, but in self._types.items():
            assert self.api is not None
            known |= self.api.fields(self.api.type(name)).keys() - set(but)
            released = released or self.api.since(self.api.type(name), key)
        more = "".join(f", and the fields of {name}" for name in self._types)
        return released or did_you_mean(key, known) or f"Known keys: {', '.join(sorted(self._asked))}{more}."

    def _expected(self, key: str, what: str, value: Any) -> None:
        self.problem(f"expected {what}, found {_shown(value)}", key=self.spelling(key))


_FORMS = {
    names.LABEL: "at most 63 lower-case letters, digits and dashes",
    names.SERVICE: "at most 63 lower-case letters, digits and dashes, a letter first",
    names.SUBDOMAIN: "lower-case letters, digits, dashes and dots",
    names.PORT: "at most 15 lower-case letters, digits and dashes, with a letter",
    names.PATH_SEGMENT: "no slash, percent sign or space",
    names.ENVIRONMENT: "letters, digits, underscores, dots and dashes, no digit first",
    names.DATA_KEY: "letters, digits, dashes, underscores and dots",
    names.LABEL_VALUE: "at most 63 letters, digits, dashes, underscores and dots",
}


def _by_key(item: tuple[Any, Any]) -> str:
    return str(item[0])


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = scalar(value)
    # A secret that stands in the wrong place must not be repeated in an error; a short word may.
    return text if len(text) <= 24 else f"a text of {len(text)} characters"
