"""Lint rules, one case each, and the comments that hide findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pillarbox.model import Inventory

Make = Callable[..., Inventory]


def found(make: Make, files: dict[str, object]) -> list[tuple[str, int, str]]:
    return [(each.file, each.line, each.rule) for each in make(files).lint()]


N = "nodes/n.yml"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({N: "parameters:\n  a: 1\n  b: {c: 1, c: 2}\n"}, [(N, 3, "duplicate-key")]),
        ({N: "parameters:\n  a: 1\n  a: 2 # lint: ignore\n"}, []),
        ({N: "parameters:\n  a: 1\n  a: 2 # lint: ignore[duplicate-key]\n"}, []),
        ({N: "parameters:\n  a: 1\n  a: 2 # lint: ignore[tab]\n"}, [(N, 3, "duplicate-key")]),
        ({N: "", "classes/a.yml": ""}, [("classes/a.yml", 1, "unused-class")]),
        ({N: "parameters:\n  a: 'x\ty'\n"}, [(N, 2, "tab")]),
        ({N: "parameters:\r\n  a: x\u00a0y\r\n"}, [(N, 1, "encoding"), (N, 2, "encoding")]),
        ({N: "a: [\n"}, [(N, 2, "error")]),
        ({N: "parameters:\n  a: ${b}\n"}, [(N, 2, "error")]),
        ({N: "parameters:\n  a: ${b\n"}, [(N, 2, "error")]),
        ({N: "classes:\n- x\n"}, [(N, 2, "error")]),
        (
            {
                N: "parameters: {web: {server: {port: x}}}\n",
                "formulas/web/schemas/server.yml": "properties: {port: {type: integer}}\n",
            },
            [(N, 1, "schema")],
        ),
        (
            {
                N: (
                    "parameters:\n  web:\n    server:\n"
                    "      prot: x\n      members:\n      - {hots: a}\n    sevrer: {}\n"
                ),
                "formulas/web/schemas/server.yml": (
                    "additionalProperties: false\n"
                    "properties: {port: {type: integer}, members: {type: array, items: {$ref: '#/$defs/member'}}}\n"
                    "$defs: {member: {additionalProperties: false, properties: {host: {type: string}}}}\n"
                ),
            },
            [(N, 4, "schema"), (N, 6, "schema"), (N, 7, "schema")],
        ),
    ],
)
def test_rules(make: Make, files: dict[str, object], expected: list[tuple[str, int, str]]) -> None:
    assert found(make, files) == expected


def test_keys_that_no_schema_knows_are_found_without_all_the_rest(make: Make) -> None:
    files: dict[str, object] = {
        N: (
            "parameters:\n  web:\n    server:\n"
            "      prot: 1\n      port: x\n      odd: 1 # lint: ignore\n      a: {b: 1}\n"
        ),
        "classes/unused.yml": "",
        "formulas/web/schemas/server.yml": (
            "additionalProperties: false\n"
            "properties: {port: {type: integer}, a: {additionalProperties: {$ref: '#/$defs/loop'}}}\n"
            "$defs: {loop: {$ref: '#/$defs/loop'}}\n"
        ),
    }
    inventory = make(files)
    (one,) = inventory.unknown_keys(inventory.all())
    assert (one.file, one.line) == (N, 4)
    assert one.message == "web:server:prot: no such key. Did you mean port?"
    assert one in inventory.lint(), "in the same words"


KEYWORDS: dict[str, object] = {
    "formulas/web/schemas/server.yml": (
        "additionalProperties: false\n"
        "properties:\n"
        "  word: {type: string, pattern: '^[a-z]+$', description: A word.}\n"
        "  secret: {type: string, pattern: '^x', writeOnly: true}\n"
        "  range: {type: string, format: ipv4-network}\n"
        "  address: {type: string, format: ipv4}\n"
        "  program:\n"
        "    x-needs-file: {path: 'formulas/web/files/{name}/{version}.yml', unless: [url], hint: 'make {name}'}\n"
        "  route: {x-distinct: to}\n"
        "  network: {x-apart: [pods, services, hosts/*/address], x-within: {own: pods}}\n"
    ),
    "formulas/web/files/a/1.yml": "",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("word: ab", None),
        ("word: 1a", "word: '1a' does not match '^[a-z]+$': A word."),
        ('word: "ab\\n"', "word: 'ab\\n' does not match '^[a-z]+$': A word."),
        ("secret: hidden", "secret: it does not match '^x'"),
        ("secret: 918273645", "secret: it is not of type 'string'"),
        ("range: 10.1.2.3/16", None),
        ("range: 10.1.0.0/99", "range: '10.1.0.0/99' is not a 'ipv4-network'"),
        ("range: 999.1.0.0/16", "range: '999.1.0.0/16' is not a 'ipv4-network'"),
        ("address: 192.0.2.300", "address: '192.0.2.300' is not a 'ipv4'"),
        ("program: {a: {version: '1'}, b: {version: '9', url: x}, c: {}, d: 1}", None),
        (
            "program: {a: {version: '2'}}",
            "program:a: the model has no formulas/web/files/a/2.yml: make a",
        ),
        ("route: {a: {to: x}, b: {to: y}, c: {to: x, enabled: false}, d: {}}", None),
        ("route: {a: {to: x}, b: {to: x}}", "route:b:to: a has x already"),
        (
            "network: {pods: 10.1.0.0/16, own: 10.1.2.0/24, services: 10.2.0.0/16, hosts: {a: {address: 10.0.0.1}}}",
            None,
        ),
        ("network: {pods: [], own: x, services: 10.2.0.0/16, hosts: 1}", None),
        (
            "network: {pods: 10.1.0.0/16, own: 10.2.0.0/24}",
            "network:own: 10.2.0.0/24 is no part of pods, which is 10.1.0.0/16",
        ),
        (
            "network: {pods: 10.1.0.0/16, hosts: {a: {address: 10.1.0.1}}}",
            "network:hosts:a:address: 10.1.0.1 overlaps pods, which is 10.1.0.0/16",
        ),
        ("typo: 1", None),
    ],
)
def test_values_that_a_schema_refuses_are_found_without_all_the_rest(
    make: Make, value: str, expected: str | None
) -> None:
    inventory = make({N: f"parameters:\n  web:\n    server:\n      {value}\n", "classes/unused.yml": "", **KEYWORDS})
    found = inventory.refused(inventory.all())
    assert [each.message for each in found] == ([] if expected is None else [f"web:server:{expected}"])
    assert all((each.file, each.line) == (N, 4) and each in inventory.lint() for each in found)
    hidden = make({N: f"parameters:\n  web:\n    server:\n      {value}  # lint: ignore[schema]\n", **KEYWORDS})
    assert hidden.refused(hidden.all()) == ()


def test_same_values_count_only_where_they_always_are(make: Make) -> None:
    files = {
        "classes/a.yml": "parameters: {x: 1}\n",
        "classes/b.yml": "parameters:\n  x: 1\n",
        "nodes/m.yml": "classes: [a, b]\n",
        "nodes/n.yml": "classes: [b]\n",
    }
    assert found(make, files) == []
    assert found(make, {**files, "nodes/n.yml": "classes: [a, b]\n"}) == [("classes/b.yml", 2, "same-value")]


def test_partial_references(make: Make) -> None:
    files = {
        "classes/a.yml": "parameters:\n  x: ${y}\n",
        "nodes/m.yml": "classes: [a]\nparameters: {y: 1}\n",
        "nodes/n.yml": "classes: [a]\n",
    }
    assert found(make, files) == [("classes/a.yml", 2, "partial-reference")]


def test_the_reference_deployment_has_no_errors(repository: Path) -> None:
    findings = Inventory(repository, cache=None).lint()
    assert [each for each in findings if each.rule in ("error", "duplicate-key", "schema", "partial-reference")] == []
