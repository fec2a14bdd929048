"""Credentials files: what the model says, opened, in a form that clients take."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openstack.config
import pytest
import yaml
from tests import gnupg

from pillarbox.model import Inventory
from pillarbox.secrets import Keyring, SecretsError, credentials, generate
from pillarbox.system import gpg

WriteModel = Callable[[dict[str, str]], Path]
CLEAR = 'pa\'ss "$word" # ü'
COMMAND = [sys.executable, "-c", "from pillarbox.cli import main; main()"]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with gnupg.keyring() as found:
        yield found


@pytest.fixture(scope="module")
def block(home: Path) -> str:
    return gpg.encrypt(home, gpg.import_key(home, gnupg.armored(home)), CLEAR)


def model(write: WriteModel, *sections: object) -> Inventory:
    """A model whose nodes n0, n1, ... have these sections ``pillarbox:credentials``."""
    nodes = {
        f"nodes/n{number}.yml": yaml.safe_dump({"parameters": {"pillarbox": {"credentials": section}}})
        for number, section in enumerate(sections)
    }
    return Inventory(write(nodes))


def test_a_shell_reads_any_value(write_model: WriteModel, home: Path, block: str) -> None:
    data = {"CLIENT_URL": "http://x/?a=b&c", "CLIENT_PASSWORD": block, "CLIENT_VERSION": 3}
    found = credentials(model(write_model, {"rc": {"format": "env", "data": data}}), Keyring(home))
    script = f"{found['rc']}exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    seen = json.loads(subprocess.run(["sh", "-euc", script], check=True, capture_output=True, text=True).stdout)
    assert (seen["CLIENT_URL"], seen["CLIENT_PASSWORD"], seen["CLIENT_VERSION"]) == ("http://x/?a=b&c", CLEAR, "3")


def test_yaml_keeps_its_shape(write_model: WriteModel, home: Path, block: str) -> None:
    data = {"b": [{"password": block}], "a": {"port": 1, "on": True, "no": None}}
    found = credentials(model(write_model, {"f.yaml": {"format": "yaml", "data": data}}), Keyring(home))
    assert yaml.safe_load(found["f.yaml"]) == {**data, "b": [{"password": CLEAR}]}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"../x": {"format": "env", "data": {}}}, "without a directory"),
        ({"x": {"format": "ini", "data": {}}}, "expected one of yaml, env"),
        ({"x": {"format": ["env"], "data": {}}}, "expected one of yaml, env"),
        ({"x": {"format": "env"}}, "expected {format"),
        ("text", "to be a mapping, found a str"),
        (["x"], "to be a mapping, found a list"),
        ({"x": "text"}, "expected {format"),
        ({"x": {"format": "env", "data": {"A B": "x"}}}, "cannot be the name of a variable"),
        ({"x": {"format": "env", "data": {"A": {"b": "x"}}}}, "A is a dict"),
    ],
)
def test_what_is_wrong_is_named(write_model: WriteModel, home: Path, section: object, message: str) -> None:
    with pytest.raises(SecretsError, match=message) as raised:
        credentials(model(write_model, section), Keyring(home))
    assert raised.value.file and raised.value.file.endswith("nodes/n0.yml")


def test_two_nodes_may_say_the_same_and_nothing_else(write_model: WriteModel, home: Path) -> None:
    one, two = ({"x": {"format": "env", "data": {"A": value}}} for value in "12")
    assert credentials(model(write_model, one, one), Keyring(home)) == {"x": "export A=1\n"}
    with pytest.raises(SecretsError, match="n0 and n1 say different things"):
        credentials(model(write_model, one, two), Keyring(home))


def test_the_reference_deployments_are_taken_by_openstacks_client(
    repository: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "model"
    for part in ("classes", "nodes"):
        shutil.copytree(repository / part, own / part)
    generate(own, gnupg.armored(home))
    secrets = yaml.safe_load((own / "classes/cluster/lab/secrets.yml").read_text())["parameters"]["_param"]
    password = Keyring(home).open(secrets["keystone_admin_password"])
    target = tmp_path / "credentials"
    command = [*COMMAND, "--model", own, "credentials", target, "--gpg-home", home]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert password not in done.stdout + done.stderr
    files = sorted(target.iterdir())
    assert [file.name for file in files] == ["clouds.yaml", "openrc"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in (target, *files)] == [0o700, 0o600, 0o600]

    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    # One cloud in the file: nobody has to name it.
    by_file = openstack.config.OpenStackConfig(config_files=[str(target / "clouds.yaml")]).get_one()
    script = f". {target / 'openrc'} && env -0"
    for line in subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout.split("\0"):
        if line.startswith("OS_"):
            monkeypatch.setenv(*line.split("=", 1))
    by_variables = openstack.config.OpenStackConfig(config_files=[]).get_one()
    for cloud in (by_file, by_variables):
        auth = cloud.config["auth"]
        assert auth["password"] == password and auth["username"] == auth["project_name"] == "admin"
        assert auth["user_domain_name"] == auth["project_domain_name"] == "Default"
        # What the deployment says of itself to its users.
        assert auth["auth_url"] == Inventory(own).node("cfg01").parameters["_param"]["keystone_public_url"]
        assert cloud.region_name == "RegionOne" and cloud.get_api_version("identity") == "3"
