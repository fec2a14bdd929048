"""What a model says about images: names, static pillar, dynamic names, and everything that may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pillarbox.images import SpecError, image_specs
from pillarbox.images.dynamic import names
from pillarbox.model import Inventory
from pillarbox.system.errors import ErrorGroup, PillarboxError

PGP = "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----"
DIGEST = "sha256:" + "0" * 64


def test_a_spec_says_what_the_image_is(make_toy: Callable[..., Any]) -> None:
    spec = make_toy().spec()
    assert spec.reference == "registry.example:5000/toys/toy-server:zed"
    assert spec.repository == "toys/toy-server"
    assert (spec.service, spec.role, spec.base.name) == ("toy", "server", "bookworm")
    assert spec.dynamic == ("DB_HOST", "DB_PASSWORD")
    assert spec.tag == f"key-{spec.content_key[:32]}"


def test_the_static_pillar_is_the_service_and_the_image(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.pillar |= {"_param": {"mysql_password": PGP}, "linux": {"a": 1}, "kubernetes": {"b": 2}}
    spec = toy.spec()
    assert sorted(spec.pillar) == ["image", "toy"]
    assert spec.image_pillar == {"image": spec.pillar["image"]}
    assert "registry" not in spec.pillar["image"]
    toy.image["pillar"] = ["linux"]
    assert toy.spec().pillar["linux"] == {"a": 1}


def test_nodes_without_an_image_are_no_images(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.write("nodes/ctl01.yml", "parameters: {linux: {system: {name: ctl01}}}")
    assert list(toy.specs()) == ["toy-server"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("$A", ("A",)),
        ("$B_1$A/$A", ("A", "B_1")),
        ({"k": ["x $url:HOST", 3, None, True]}, ("HOST",)),
        ({"$KEY": "value"}, ()),
        ("$lower ${A} $1 $ price$", ()),
        ("$A.b", ("A",)),
    ],
)
def test_dynamic_names(data: object, expected: tuple[str, ...]) -> None:
    assert names(data) == expected


def errors_of(toy: Any) -> list[PillarboxError]:
    with pytest.raises(PillarboxError) as raised:
        toy.specs()
    error = raised.value
    return list(error.errors) if isinstance(error, ErrorGroup) else [error]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"base": None}, "image:base is missing"),
        ({"packages": None}, "image:packages is missing"),
        ({"packages": {"suite": "../x"}}, "image:packages:suite is '../x'"),
        ({"packages": {"suite": "s", "without": "perl"}}, "image:packages:without is 'perl', expected a list"),
        ({"packages": {"suite": "s", "updates": "no"}}, "image:packages:updates is 'no', expected true or false"),
        ({"packages": {"suite": "s", "state": "a b"}}, "image:packages:state is 'a b', expected a date or a serial"),
        ({"packages": {"suite": "s", "state": True}}, "image:packages:state is True"),
        ({"packages": {"suite": "s", "state": []}}, "image:packages:state is []"),
        ({"base": {"name": "b", "engine": "magic"}}, "image:base:engine is 'magic', expected debootstrap or registry"),
        ({"base": {"name": "b", "engine": "debootstrap"}}, "image:base:suite is None"),
        ({"base": {"name": "../b", "engine": "debootstrap", "suite": "s"}}, "image:base:name is '../b'"),
        (
            {"base": {"name": "b", "engine": "debootstrap", "suite": "s", "include": ["$(id)"]}},
            "image:base:include names '$(id)'",
        ),
        (
            {"base": {"name": "b", "engine": "debootstrap", "suite": "s", "mirror": "file:///srv"}},
            "image:base:mirror is 'file:///srv'",
        ),
        ({"packages": {"suite": "s", "mirror": "http://x/y\ndeb"}}, "image:packages:mirror is 'http://x/y\\ndeb'"),
        ({"packages": {"suite": "s", "mirror": "http://a:b@x/"}}, "or https://... without a password"),
        ({"packages": {"suite": "s", "components": ["main\n"]}}, "image:packages:components names 'main\\n'"),
        ({"base": {"name": "b", "engine": "registry", "image": "debian:12"}}, "expected NAME@sha256:DIGEST"),
        ({"role": "../../etc"}, "image:role is '../../etc'"),
        ({"service": "Toy"}, "image:service is 'Toy'"),
        ({"service": "none"}, "there is no formula formulas/none"),
        ({"role": "client"}, "formula toy has no SLS toy.client"),
        ({"role": "client"}, "named <service>-<role>, here toy-client"),
        ({"version": "a b"}, "image:version is 'a b'"),
        ({"version": "key-abc"}, "tags that start with key- are the builder's own"),
        ({"deploy_name": "a/b"}, "image:deploy_name is 'a/b'"),
        ({"registry": "http://x/"}, "image:registry is 'http://x/'"),
        ({"registry": None}, "image:registry is None"),
        ({"pillar": ["absent"]}, "image:pillar names 'absent'"),
        ({"formulas": ["none"]}, "image:formulas names 'none', and there is no formulas/none"),
        ({"formulas": ["../toy"]}, "image:formulas names '../toy'"),
        ({"public": "x"}, "image:public is 'x', expected a list"),
        ({"timeout": "soon"}, "image:timeout is 'soon', expected a number of seconds"),
        ({"timeout": 0}, "image:timeout is 0, expected a number of seconds"),
    ],
)
def test_what_is_wrong_with_an_image_node(make_toy: Callable[..., Any], image: dict[str, Any], message: str) -> None:
    toy = make_toy()
    toy.image |= image
    errors = errors_of(toy)
    assert all(isinstance(error, SpecError) and error.file == "nodes/toy-server.yml" for error in errors)
    assert any(message in error.message for error in errors), errors


def test_what_is_wrong_is_told_with_its_line(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.image |= {"version": "a b"}
    (error,) = errors_of(toy)
    lines = (toy.path / "nodes/toy-server.yml").read_text().splitlines()
    assert error.line is not None and "version: a b" in lines[error.line - 1]


def test_a_node_is_named_after_its_image(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.name = "other"
    assert "named <service>-<role>, here toy-server" in errors_of(toy)[0].message


def test_all_errors_come_at_once(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.image |= {"version": "a b", "base": None}
    toy.pillar["toy"]["server"]["password"] = "hunter2"
    assert len(errors_of(toy)) == 3


def test_a_base_pinned_by_digest_needs_no_recipe(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.image["base"] = {"name": "debian", "engine": "registry", "image": f"registry.example/debian@{DIGEST}"}
    assert toy.spec().base.image == f"registry.example/debian@{DIGEST}"


@pytest.mark.parametrize(
    "parameters",
    [
        {"anything": PGP},
        {"list": [{"deep": f"x{PGP}"}]},
        {"password": "hunter2"},
        {"admin_token": "0123"},
        {"api-key": "0123"},
        {"passwords": ["$GOOD", "bad"]},
        {"database": {"connection_secret": " x "}},
        {"tls": "-----BEGIN RSA PRIVATE KEY-----\nMII"},
        {"url": "mysql://user:hunter2@host/db"},
        {"url": "mysql://$USER:hunter2@host/db"},
        {"url": "mysql://user:hunter$2@host/db"},
        {"url": "mysql://user:Pa$SWORD1@host/db"},
        {"password": "Pa$SWORD1"},
        {"password": "$$"},
        {"password": "/hunter2"},
        {"password": 31337},
        {"pin": {"password": 3.5}},
        {"admin_pass": "hunter2"},
        {"adminPass": "hunter2"},
        {"dbpass": "hunter2"},
        {"mysql_pwd": "hunter2"},
        {"password2": "hunter2"},
        {"adminPassword": "hunter2"},
        {"accessKey": "hunter2"},
        {"token": 31337},
        {"api_key": 31337},
        {"Authorization_token": "Bearer hunter2"},
        {"passwords": {"alice": "hunter2"}},
        {"passwords": {"user": "hunter2"}},
        {"passwords": {"alice": 31337}},
        {"passwords": [31337]},
        {"passwords": [{"name": "$NAME", "value": "hunter2"}]},
        {"admin_password": {"production": "hunter2"}},
        {"secrets": {"a": {"b": ["hunter2"]}}},
        {"credentials": "alice:hunter2"},
        {"credentials": {"username": "alice", "pin": "hunter2"}},
        {"users": [{"name": "alice", "pass": "hunter2"}]},
    ],
)
def test_secrets_are_always_dynamic(make_toy: Callable[..., Any], parameters: dict[str, Any]) -> None:
    toy = make_toy()
    toy.pillar["toy"]["server"] |= parameters
    (error,) = errors_of(toy)
    assert "static parameter toy:server:" in error.message
    assert "hunter2" not in str(error)
    assert "$NAME" in str(error.hint)


@pytest.mark.parametrize(
    "parameters",
    [
        {"password": "$DB_PASSWORD"},
        {"password": ""},
        {"password": None},
        {"token": {"provider": "fernet", "expiration": 3600}},
        {"ssl_key": "/etc/ssl/private/toy.key"},
        {"url": "mysql://user:$url:DB_PASSWORD@host:3306/db"},
        {"url": "http://host:5000/v3"},
        {"primary_key": "id"},
        {"tokens": 3},
        {"tokens": {"provider": "fernet", "expiration": 3600, "max_active_keys": 3}},
        {"password": True},
        {"passwords": 3},
        {"password": {"min_length": 8, "algorithm": "sha512"}},
        {"password_length": 12},
        {"key": 443},
        {"secret": "$USER:$PASS"},
        {"Authorization_token": "Bearer $TOKEN"},
        {"url": "mysql://$url:USER:$url:PASS@host:3306/db"},
        {"url": "http://[::1]:5000/v3"},
        {"credentials": {"username": "alice", "password": "$PASS", "url": "http://host:5000"}},
        {"credential": {"provider": "fernet", "key_repository": "/etc/keystone/keys/"}},
        {"proxy_pass": "http://host:80"},
        {"bypass": "yes"},
        {"compass": "north"},
        {"routing_keys": ["a"]},
        {"keystone": "on"},
        {"monkey": "yes"},
    ],
)
def test_what_is_no_secret(make_toy: Callable[..., Any], parameters: dict[str, Any]) -> None:
    toy = make_toy()
    toy.pillar["toy"]["server"] |= parameters
    toy.spec()


def test_the_model_may_say_that_something_is_public(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.pillar["toy"]["server"] |= {"site_key": "6Lc", "other": PGP}
    toy.image["public"] = ["toy:server:site_key", "toy:server:other"]
    (error,) = errors_of(toy)
    assert "toy:server:other holds a PGP block" in error.message


def test_all_of_a_mapping_may_be_public(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.pillar["toy"]["server"] |= {"passwords": {"guest": "guest"}, "token": "x"}
    toy.image["public"] = ["toy:server:passwords"]
    (error,) = errors_of(toy)
    assert "toy:server:token" in error.message
    assert "image:public" in str(error.hint)


def test_a_secret_is_refused_where_it_is_written(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.write(
        "classes/secret.yml",
        """\
parameters:
  _param:
    admin: hunter2
  toy:
    server:
      admin_pass: ${_param:admin}
      passwords:
        alice: x
        bob: 31337
      users:
      - name: carol
        pass: hunter2
""",
    )
    node = {"classes": ["secret"], "parameters": {"image": toy.image, **toy.pillar}}
    toy.write("nodes/toy-server.yml", yaml.safe_dump(node, sort_keys=False))
    with pytest.raises(ErrorGroup) as raised:
        image_specs(Inventory(toy.path))
    assert sorted(error.place for error in raised.value.errors) == [
        f"classes/secret.yml:{line}" for line in ("12", "3", "8", "9")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"\${DB_HOST}", "${DB_HOST} is no placeholder"),
        ("$uri:DB_HOST", "there is no encoding uri"),
        ("$DB_Host", "runs on into 'o'"),
    ],
)
def test_malformed_dynamic_names(make_toy: Callable[..., Any], text: str, message: str) -> None:
    toy = make_toy()
    toy.pillar["toy"]["server"]["host"] = text
    (error,) = errors_of(toy)
    assert message in error.message
    assert "toy:server:host" in error.message


def test_a_symbolic_link_in_a_formula_is_refused(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    (toy.path / "formulas/toy/files/passwd").symlink_to("/etc/passwd")
    (error,) = errors_of(toy)
    assert "formulas/toy/files/passwd is a symbolic link" in error.message
