"""The fast reader against PyYAML: whatever text it takes, both read the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pillarbox.model.errors import ModelError
from pillarbox.model.read import blocks, yaml11
from pillarbox.model.read.scalars import Undecided

ATOMS = """a|b c|1|-1|0x1f|010|1_0|1.5|1e3|.5|yes|On|n|~|null|=|<<|2020-01-01|2020-13-45|12:30:45|a:b|a: b|a #c|a#c|# c
'q'|'q''r' # x|"d"|"d\\n" #z|"d: e"|[]|{}|[a, b]|{a: 1}|[a|-|- x|-x|*a|&a x|!t x|? a|%x|@z|${a:b}|x ${y} z
$[ if exports:a == 1 ]|::|"|'
a\tb|é|\u2028x|\x85|k:| x|x |a,b|{a}b|1:2|:x|?x|!|.inf|-.inf|.nan|0o7|0b1|+1|1.|1.e+3|2001-12-14t21:59:43.10-05:00"""
atoms = st.sampled_from([atom for line in ATOMS.split("\n") for atom in line.split("|")])
keys = st.sampled_from(
    ["a", "b", "k1", "x.y", "~o", "=c", "my key", "a:b", "1", "yes", "'q'", '"q"', "~", "=", "<<", "é"]
)
indents = st.sampled_from([0, 0, 2, 2, 4, 4, 6, 1, 3])
headers = st.sampled_from(["|", "|-", "|+", ">", ">-", "|2", "| # c"])


@st.composite
def lines(draw: st.DrawFn) -> str:
    line = " " * draw(indents)
    if draw(st.integers(0, 3)) == 0:
        line += "-" + " " * draw(st.integers(1, 3))
    if draw(st.booleans()):
        line += draw(keys) + ":" + draw(st.sampled_from([" ", " ", "", "  "]))
    if draw(st.booleans()):
        line += draw(st.one_of(atoms, atoms, headers))
    return line + draw(st.sampled_from(["", "", "", "", " ", " # c"]))


texts = st.builds(lambda found, end: "\n".join(found) + end, st.lists(lines(), max_size=8), st.sampled_from(["\n", ""]))


def fast(text: str) -> Any:
    return blocks.load(text)


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(map(repr, left)) == list(map(repr, right)) and all(map(same, left.values(), right.values()))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
def test_lines(text: str) -> None:
    try:
        found = fast(text)
    except Undecided:
        assume(False)
    assert same(found, yaml.load(text, Loader=yaml.SafeLoader))


numbers = st.one_of(st.booleans(), st.integers(), st.floats())
data = st.recursive(
    st.one_of(st.none(), numbers, st.text(max_size=12), st.dates(), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(data, st.booleans(), st.sampled_from([1, 2, 4]))
def test_documents_that_pyyaml_writes(value: Any, unicode: bool, indent: int) -> None:
    text = yaml.safe_dump(value, allow_unicode=unicode, indent=indent, sort_keys=False)
    assert same(yaml11.load_text(text, "f"), yaml.load(text, Loader=yaml.SafeLoader))


@pytest.mark.parametrize(
    "text",
    [
        "a:\n- 1\n- b: 2\n  c: [x, y]\n",
        "a: |\n  text: x\n\n  more\nb: >-\n  folded\n  text\n",
        "---\na: 'it''s'\nb: \"x # y\" # c\n",
        "- a\n-\n  b: 1\n- - x\n",
        "a: # comment\n  b: yes\n\n# end\n",
    ],
)
def test_the_fast_reader_takes_what_models_are_written_in(text: str) -> None:
    if "- - x" in text:
        with pytest.raises(Undecided):
            fast(text)
    else:
        assert same(fast(text), yaml.safe_load(text))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), texts.map(str.encode)))
def test_any_bytes_read_or_are_refused(data: bytes) -> None:
    try:
        yaml11.load(data, "f.yml")
    except ModelError as error:
        assert error.file == "f.yml"


BOMB = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c]\n" % ((name, name) + (name - 1,) * 4) for name in b"bcdefghijklmnopqrstuvwxyz"
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: [1\n", "f.yml:2"),
        (b"a: 1\nb: \xff\n", "f.yml:2: expected UTF-8"),
        (b"a:\n\tb: 1\n", "f.yml:2"),
        (b"[" * 200_000, "levels of nesting"),
        (b"- " * 200_000 + b"a", "levels of nesting"),
        (b"a: &a [*a]\n", "inside the value that it names"),
        (BOMB, "aliases"),
        (b"? [a]\n: b\n", "unhashable"),
        (b"a: 2020-99-99\n", "YAML does not parse"),
        (b"a: !!python/object:os.system x\n", "YAML does not parse"),
    ],
    ids=range(10),
)
def test_malformed(data: bytes, expected: str) -> None:
    with pytest.raises(ModelError) as caught:
        yaml11.load(data, "f.yml")
    assert expected in str(caught.value)
