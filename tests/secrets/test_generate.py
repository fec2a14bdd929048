"""Secrets of a deployment: what is wrong is told, and then nothing is written at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests import gnupg

from pillarbox.cli.secrets import command
from pillarbox.secrets import SecretsError, add, generate, rotate
from pillarbox.system.errors import PillarboxError

GOOD = "parameters:\n  _secret:\n    one: {kind: password}\n"


@pytest.fixture(scope="module")
def key() -> str:
    with gnupg.keyring() as home:
        return gnupg.armored(home)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a: [",
        b"[1]",
        b"parameters: [1]",
        b"parameters: {_secret: [a]}",
        b"parameters: {_secret: {a: x}}",
        b"parameters: {_secret: {a: {kind: [p]}}}",
        b"parameters: {_secret: {a: {kind: nope}}}",
        b"parameters: {_secret: {a: {then: b}}}",
        b"parameters: {_secret: {a: {then: [b]}, b: {}}}",
        b"parameters: {_secret: {a: {then: a}}}",
        b"parameters: {_secret: {a: {then: b}, b: {then: a}}}",
        b"parameters: {_secret: {a: {then: c}, b: {then: c}, c: {}}}",
        b"parameters: {_param: x}",
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, key: str, text: bytes) -> None:
    for name, content in (("a", GOOD.encode()), ("z", text)):
        (tmp_path / "classes/cluster" / name).mkdir(parents=True)
        (tmp_path / "classes/cluster" / name / "secrets.yml").write_bytes(content)
    with pytest.raises(PillarboxError, match=r"classes/cluster/z/secrets\.yml"):
        generate(tmp_path, key)
    assert (tmp_path / "classes/cluster/a/secrets.yml").read_text() == GOOD


def test_nothing_is_written_outside_the_model(tmp_path: Path, key: str) -> None:
    (tmp_path / "model/classes/cluster").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secrets.yml").write_text(GOOD)
    (tmp_path / "model/classes/cluster/z").symlink_to(tmp_path / "outside")
    with pytest.raises(PillarboxError, match="outside the model"):
        generate(tmp_path / "model", key)
    assert (tmp_path / "outside/secrets.yml").read_text() == GOOD


def test_a_pusher_has_nothing_written_through_a_link(tmp_path: Path, key: str) -> None:
    """Of a deployment that lies elsewhere not even the lock is made, and none that is a link is taken."""
    model, outside = tmp_path / "model", tmp_path / "outside"
    (model / "classes/cluster").mkdir(parents=True)
    outside.mkdir()
    (outside / "secrets.yml").write_text(GOOD)
    (outside / "victim").write_text("precious")
    (model / "classes/cluster/z").symlink_to(outside)
    for change in (add, rotate):
        with pytest.raises(SecretsError, match="outside the model"):
            change(model, key, ["one"])
        assert sorted(file.name for file in outside.iterdir()) == ["secrets.yml", "victim"]
    (model / "classes/cluster/z").unlink()
    (model / "classes/cluster/z").mkdir()
    (model / "classes/cluster/z/secrets.yml").write_text(GOOD)
    (model / "classes/cluster/z/.secrets.lock").symlink_to(outside / "victim")
    for change in (add, rotate):
        with pytest.raises(SecretsError, match="the lock is a link"):
            change(model, key, ["one"])
    assert (outside / "victim").read_text() == "precious"


@pytest.fixture
def deployment(tmp_path: Path, key: str) -> Path:
    """A model whose one deployment has one secret."""
    file = tmp_path / "classes/cluster/a/secrets.yml"
    file.parent.mkdir(parents=True)
    file.write_text(GOOD)
    generate(tmp_path, key)
    return tmp_path


def test_a_secret_is_added_and_the_others_are_left_alone(deployment: Path, key: str) -> None:
    file = deployment / "classes/cluster/a/secrets.yml"
    before = file.read_text().splitlines()
    assert add(deployment, key, ["two", "three"], "fernet") == file
    after = file.read_text().splitlines()
    remaining = iter(after)
    assert all(line in remaining for line in before), "a line of what was there is gone or has moved"
    parameters = yaml.safe_load(file.read_text())["parameters"]
    assert parameters["_secret"]["two"] == parameters["_secret"]["three"] == {"kind": "fernet"}
    assert list(parameters["_param"]) == ["one", "two", "three"]
    assert len({value for value in parameters["_param"].values() if "BEGIN PGP MESSAGE" in value}) == 3


def test_a_secret_that_is_asked_for_and_missing_keeps_its_kind(deployment: Path, key: str) -> None:
    file = deployment / "classes/cluster/a/secrets.yml"
    document = yaml.safe_load(file.read_text())
    document["parameters"]["_secret"]["later"] = {"kind": "cookie"}
    file.write_text(yaml.safe_dump(document))
    add(deployment, key, ["later"])
    parameters = yaml.safe_load(file.read_text())["parameters"]
    assert parameters["_secret"]["later"] == {"kind": "cookie"} and "later" in parameters["_param"]


def test_secrets_that_are_added_at_once_are_all_there(deployment: Path, key: str) -> None:
    names = [f"s{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: add(deployment, key, [name]), names))
    folder = deployment / "classes/cluster/a"
    parameters = yaml.safe_load((folder / "secrets.yml").read_text())["parameters"]
    assert set(parameters["_param"]) == {"one", *names}
    assert [file.name for file in folder.iterdir()] == ["secrets.yml"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "${_param:x}"])
def test_a_name_that_no_reference_can_say_is_refused(deployment: Path, key: str, name: str) -> None:
    with pytest.raises(SecretsError, match="cannot be the name of a secret"):
        add(deployment, key, ["two", name])


def test_a_secret_that_is_there_is_not_replaced(deployment: Path, key: str) -> None:
    before = (deployment / "classes/cluster/a/secrets.yml").read_text()
    with pytest.raises(SecretsError, match="there is a secret one already"):
        add(deployment, key, ["new", "one"])
    assert (deployment / "classes/cluster/a/secrets.yml").read_text() == before


def test_which_deployment_is_asked_where_there_are_several(deployment: Path, key: str) -> None:
    other = deployment / "classes/cluster/b/secrets.yml"
    other.parent.mkdir()
    other.write_text(GOOD)
    with pytest.raises(SecretsError, match=r"no deployment was named; with a secrets\.yml: a, b"):
        add(deployment, key, ["two"])
    with pytest.raises(SecretsError, match="there is no deployment c"):
        add(deployment, key, ["two"], cluster="c")
    assert add(deployment, key, ["two"], cluster="b") == other


def test_the_command_adds_or_makes_all_anew(deployment: Path, key: str) -> None:
    file = deployment / "classes/cluster/a/secrets.yml"
    one = yaml.safe_load(file.read_text())["parameters"]["_param"]["one"]
    done = CliRunner().invoke(command, ["add", "two", "--public-key", "-"], input=key, obj=deployment)
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(file.read_text())["parameters"]["_param"]["one"] == one
    done = CliRunner().invoke(command, ["--public-key", "-"], input=key, obj=deployment)
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(file.read_text())["parameters"]["_param"]["one"] != one
    assert CliRunner().invoke(command, [], obj=deployment).exit_code == 2


def test_a_model_without_secrets_is_not_passed_over_in_silence(tmp_path: Path, key: str) -> None:
    done = CliRunner().invoke(command, ["--public-key", "-"], input=key, obj=tmp_path)
    assert done.exit_code == 0
    assert "no deployment of the model has a secrets.yml" in done.output


RING = """parameters:
  _secret:
    staged: {kind: fernet, then: primary}
    secondary: {kind: fernet}
    primary: {kind: fernet, then: secondary}
    other: {kind: password}
"""


def test_a_secret_is_rotated_and_the_others_are_left_alone(tmp_path: Path, key: str) -> None:
    file = tmp_path / "classes/cluster/a/secrets.yml"
    file.parent.mkdir(parents=True)
    file.write_text(RING)
    generate(tmp_path, key)

    def values() -> dict[str, str]:
        found: dict[str, str] = yaml.safe_load(file.read_text())["parameters"]["_param"]
        return found

    before = values()
    assert rotate(tmp_path, key, ["other"]) == file
    assert values() == before | {"other": values()["other"]} and values()["other"] != before["other"]

    before = values()
    rotate(tmp_path, key, ["staged"])
    after = values()
    assert after["primary"] == before["staged"], "every service knows it already"
    assert after["secondary"] == before["primary"], "what it made can still be read"
    assert after["staged"] not in before.values()
    assert after["other"] == before["other"]


@pytest.mark.parametrize(("name", "said"), [("nope", "no secret nope"), ("primary", "takes what staged had")])
def test_what_cannot_be_rotated(tmp_path: Path, key: str, name: str, said: str) -> None:
    file = tmp_path / "classes/cluster/a/secrets.yml"
    file.parent.mkdir(parents=True)
    file.write_text(RING)
    generate(tmp_path, key)
    before = file.read_text()
    with pytest.raises(SecretsError, match=said):
        rotate(tmp_path, key, ["other", name])
    assert file.read_text() == before
