"""The registry as its formula makes it, run: Salt's own files on the real programs, and who may do what there."""

from __future__ import annotations

import io
import json
import os
import runpy
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from tests import programs
from tests.controlplane import free_port
from tests.formulas.test_hosts import compiled_states, complaints
from tests.images.conftest import push

from pillarbox import pki
from pillarbox.images.errors import RegistryError
from pillarbox.images.registry import Registry
from pillarbox.salt.modules.pillarbox import account as account_name
from pillarbox.salt.modules.pillarbox import htpasswd
from pillarbox.system.engine import Engine, EngineError, EngineUnavailable
from pillarbox.system.errors import PillarboxError
from pillarbox.system.execution import pack

ROOT = Path(__file__).resolve().parents[2]
PASSWORDS = {"push": "a-password-to-push", "pull": "a-password-to-pull"}
#: What is valid beside it: what hosts get next, and what they had.
AGES = ("next", "current", "previous")
NGINX = """\
user root;
daemon off;
pid {root}/nginx.pid;
error_log {root}/nginx.log;
events {{}}
http {{
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
    include {root}/etc/nginx/conf.d/registry.conf;
}}
"""


@dataclass(frozen=True)
class Served:
    """A registry that is served, and where the files are that Salt would put on a host."""

    address: str
    root: Path

    @property
    def certificates(self) -> Path:
        return self.root / "etc/docker/certs.d"

    def registry(self, account: str | None, age: str = "current") -> Registry:
        credentials = login(account, age) if account else None
        return Registry(self.address, credentials=credentials, certificates=self.certificates)

    def docker_config(self, user: str) -> str:
        """The directory with the file of accounts that a user of a client has."""
        return str(self.root / ("root" if user == "root" else "home/git") / ".docker")


def password(account: str, age: str) -> str:
    return PASSWORDS[account] if age == "current" else f"{age} {PASSWORDS[account]}"


def login(account: str, age: str = "current") -> tuple[str, str]:
    return account_name(f"{account}-$digest", password(account, age)), password(account, age)


def host(port: int, inner: int, storage: Path) -> dict[str, Any]:
    """The pillar of a host that has the registry, is its client, and has containerd."""
    address = f"127.0.0.1:{port}"
    root = {"username": "push-$digest", "password": PASSWORDS["push"]}
    git = {"username": "pull-$digest", "password": PASSWORDS["pull"], "home": "/home/git"}
    client = {"address": address, "authority": "registry", "account": {"root": root, "git": git}}
    return {
        "_reclass_": {"name": {"full": "host"}},
        "program": {"source": {"program": {name: {"version": "1", "path": "/srv"} for name in ("containerd", "runc")}}},
        "registry": {
            "server": {
                "enabled": True,
                "bind": {"address": "127.0.0.1", "port": port, "inner_port": inner},
                "storage": {"directory": str(storage)},
                "account": {
                    "push-$digest": {"password": {age: password("push", age) for age in AGES}, "push": True},
                    "pull-$digest": {"password": {age: password("pull", age) for age in AGES}},
                    "one": {"password": "its-only-one"},
                },
            },
            "client": {"enabled": True, "registry": {"main": client}},
        },
        "containerd": {
            "server": {
                "enabled": True,
                "registry": {
                    "main": {
                        "address": address,
                        "authority": "registry",
                        "username": "pull-$digest",
                        "password": PASSWORDS["pull"],
                    }
                },
            }
        },
        "pki": {
            "certificate": {
                "registry-server": {
                    "ca": "registry",
                    "common_name": "host",
                    "alternative_names": ["IP:127.0.0.1"],
                    "usage": ["server"],
                }
            },
            "authority": {"registry": {}},
        },
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = [programs.debian(package, package) for package in ("nginx", "docker-registry")]
    if None in found:
        pytest.skip("needs Debian's nginx and docker-registry, which apt cannot get here")
    if os.geteuid() != 0:
        pytest.skip("needs root, as nginx's workers would change their user")
    directory = tmp_path_factory.mktemp("served")
    root, storage = directory / "host", directory / "storage"
    port, inner = free_port(), free_port()
    parameters = host(port, inner, storage)
    assert complaints({name: parameters[name] for name in ("registry", "containerd")}) == []
    low, texts = compiled_states("host", parameters, ["registry", "containerd"], directory)
    assert all(isinstance(chunk, dict) for chunk in low), low
    pillar = {"pki": pki.issue(parameters, directory / "pki")["pki"]}
    for chunk in low:
        # Not the programs themselves, which lie in a directory of the host.
        if chunk["state"] == "file" and chunk["fun"] == "managed" and not chunk.get("source", "").startswith("/"):
            place(root, chunk, texts, pillar)
    (root / "nginx.conf").write_text(NGINX.format(root=root))
    commands = [
        [found[0], "-p", root, "-c", root / "nginx.conf"],
        [found[1], "serve", root / "etc/docker/registry/config.yml"],
    ]
    with (directory / "log").open("ab") as log:
        running = [subprocess.Popen([str(each) for each in command], stdout=log, stderr=log) for command in commands]
    try:
        result = Served(f"127.0.0.1:{port}", root)
        deadline = time.monotonic() + 60
        while True:
            try:
                result.registry("pull").check()
                break
            except RegistryError as error:
                assert time.monotonic() < deadline, f"{error}\n{(directory / 'log').read_text()}"
                time.sleep(0.05)
        yield result
    finally:
        for process in running:
            process.terminate()
            process.wait()


def place(root: Path, chunk: dict[str, Any], texts: dict[str, str], pillar: Any) -> None:
    """Put what a state would write below ``root``, naming each other there."""
    if "contents_pillar" in chunk:
        text = pillar
        for key in chunk["contents_pillar"].split(":"):
            text = text[key]
    else:
        text = texts.get(chunk["name"], chunk.get("contents"))
    file = root / chunk["name"].lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    for folder in ("/etc/docker", "/etc/containerd"):
        text = text.replace(folder, f"{root}{folder}")
    file.write_text(text)
    file.chmod(int(chunk.get("mode", "0644"), 8))


def put(served: Served, account: str | None, repository: str) -> str:
    """Push an image without layers as ``account``."""
    with requests.Session() as session:
        session.auth = login(account) if account else None
        # The environment may name authorities, which would count instead.
        session.trust_env = False
        session.verify = str(served.certificates / served.address / "ca.crt")
        return push(served.address, repository, "one", {}, session=session, scheme="https")


def test_one_account_pushes_and_the_other_pulls(served: Served) -> None:
    digest = put(served, "push", "some/image")
    for account in ("push", "pull"):
        assert served.registry(account).digest("some/image", "one") == digest
    with pytest.raises(requests.HTTPError, match="401"):
        put(served, "pull", "some/other")
    manifest = served.registry("pull").manifest("some/image", "one")
    assert manifest
    with pytest.raises(RegistryError, match="401"):
        served.registry("pull").tag("some/image", manifest, "two")
    served.registry("push").tag("some/image", manifest, "two")
    assert served.registry("pull").digest("some/image", "two") == digest


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/some/image/manifests/one", "/metrics", "/"])
def test_nobody_else_gets_anything(served: Served, path: str) -> None:
    put(served, "push", "some/image")
    authority = str(served.certificates / served.address / "ca.crt")
    name, secret = login("push")
    for auth in (None, (name, "wrong"), ("push", secret), ("nobody", secret), (name, login("push", "next")[1])):
        answer = requests.get(f"https://{served.address}{path}", auth=auth, verify=authority)
        assert answer.status_code == (401 if path.startswith("/v2/") else 404)
    assert requests.get(f"http://{served.address}{path}").status_code == 400


def test_each_password_of_an_account_is_valid_until_it_goes(served: Served) -> None:
    digest = put(served, "push", "some/image")
    for age in AGES:
        assert served.registry("pull", age).digest("some/image", "one") == digest
        manifest = served.registry("push", age).manifest("some/image", "one")
        assert manifest
        served.registry("push", age).tag("some/image", manifest, age)
    single = Registry(served.address, credentials=("one", "its-only-one"), certificates=served.certificates)
    assert single.digest("some/image", "one") == digest

    # The next state of the host: each has moved on by one. nginx reads the file at every request.
    file = served.root / "etc/docker/registry/pull.htpasswd"
    before = file.read_text()
    moved = dict(zip(AGES, ("new", password("pull", "next"), password("pull", "current")), strict=True))
    later = htpasswd(str(file), {"pull-$digest": moved})
    file.write_text(later)
    try:
        for age in ("next", "current"):
            assert served.registry("pull", age).digest("some/image", "one") == digest
        with pytest.raises(RegistryError, match="401"):
            served.registry("pull", "previous").digest("some/image", "one")
    finally:
        file.write_text(before)


def test_a_registry_of_another_authority_is_refused(served: Served, tmp_path: Path) -> None:
    stranger = {"_reclass_": {"name": {"full": "host"}}, "pki": {"authority": {"registry": None}}}
    other = pki.issue(stranger, tmp_path / "pki")["pki"]["authority"]["registry"]
    (tmp_path / served.address).mkdir()
    (tmp_path / served.address / "ca.crt").write_text(other["certificate"])
    for certificates in (tmp_path, tmp_path / "none"):
        with pytest.raises(RegistryError, match=r"(?i)certificate.verify.failed"):
            Registry(served.address, certificates=certificates).check()


@pytest.mark.parametrize(("user", "pushes"), [("root", True), ("git", False)])
def test_users_of_a_host_have_their_accounts(
    served: Served, monkeypatch: pytest.MonkeyPatch, user: str, pushes: bool
) -> None:
    digest = put(served, "push", "some/image")
    monkeypatch.setenv("DOCKER_CONFIG", served.docker_config(user))
    reader = Registry(served.address, certificates=served.certificates)
    assert reader.digest("some/image", "one") == digest
    manifest = reader.manifest("some/image", "one")
    assert manifest
    if pushes:
        reader.tag("some/image", manifest, "three")
    else:
        with pytest.raises(RegistryError, match="401"):
            reader.tag("some/image", manifest, "three")
    file = Path(served.docker_config(user), "config.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(file.read_text())["auths"]) == {served.address}


@pytest.mark.compiled
def test_a_nodes_containerd_pulls(served: Served, tmp_path: Path) -> None:
    """containerd with the formula's hosts.toml: authority and account, and no pull Secret."""
    if (containerd := programs.compiled("containerd", "containerd")) is None:
        pytest.skip("no containerd here: set PILLARBOX_PROGRAMS, or make the lab, which compiles it")
    ctr = containerd.with_name("ctr")
    digest = put(served, "push", "some/image")
    hosts = served.root / "etc/containerd/certs.d"
    assert (hosts / served.address / "hosts.toml").stat().st_mode & 0o777 == 0o600
    socket = tmp_path / "containerd.sock"
    command = [containerd, "--address", socket, "--root", tmp_path / "root", "--state", tmp_path / "state"]
    with (tmp_path / "log").open("ab") as log:
        running = subprocess.Popen([str(each) for each in command], stdout=log, stderr=log)

    def fetch(folder: Path) -> subprocess.CompletedProcess[str]:
        reference = f"{served.address}/some/image@{digest}"
        arguments = [str(ctr), "--address", str(socket), "content", "fetch", "--hosts-dir", str(folder), reference]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120)

    try:
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert running.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        # It is the account that lets it in.
        without = tmp_path / "without"
        shutil.copytree(hosts, without)
        file = without / served.address / "hosts.toml"
        file.write_text("".join(line for line in file.open() if "Authorization" not in line))
        done = fetch(without)
        assert done.returncode != 0 and "authorization failed" in done.stderr, done.stderr
        done = fetch(hosts)
        assert done.returncode == 0, done.stderr
    finally:
        running.terminate()
        running.wait()


@pytest.mark.engine
def test_an_engine_pushes_for_the_account_that_may(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        pack(tar, "file", b"text")
    repository = f"{served.address}/pushed/image"
    for user, pushes in (("git", False), ("root", True)):
        monkeypatch.setenv("DOCKER_CONFIG", served.docker_config(user))
        engine = Engine()
        engine.load_root(iter([archive.getvalue()]), repository, "one", {})
        try:
            if pushes:
                digest = engine.push(repository, "one")
                assert served.registry("pull").digest("pushed/image", "one") == digest
            else:
                with pytest.raises(EngineError) as raised:
                    engine.push(repository, "one")
                assert not isinstance(raised.value, EngineUnavailable)
        finally:
            engine.remove_image(f"{repository}:one")


def test_accounts_keep_their_lines_until_their_password_changes(tmp_path: Path) -> None:
    # As formulas call it that were deployed before there could be several: hosts get a new package first.
    file = tmp_path / "htpasswd"
    first = htpasswd(str(file), {"b": "one", "a": "two"})
    assert [line.partition(":")[0] for line in first.splitlines()] == ["a", "b"]
    assert "one" not in first and first.count("$2b$06$") == 2
    file.write_text(first)
    assert htpasswd(str(file), {"a": "two", "b": "one"}) == first
    changed = htpasswd(str(file), {"a": "two", "b": "three"})
    assert changed.splitlines()[0] == first.splitlines()[0] and changed.splitlines()[1] != first.splitlines()[1]
    assert htpasswd(str(file), {"a": "two"}) == first.splitlines()[0] + "\n"


def test_each_password_has_an_account_of_its_own(tmp_path: Path) -> None:
    text = htpasswd(str(tmp_path / "none"), {"p-$digest": {"x": "one", "y": "two", "z": "one"}})
    names = [line.partition(":")[0] for line in text.splitlines()]
    assert names == sorted(account_name("p-$digest", each) for each in ("one", "two"))
    digest = runpy.run_path(str(ROOT / "images/entrypoint"))["digest"]
    assert account_name("p-$digest", "one") == f"p-{digest(b'one').decode()}"
    with pytest.raises(PillarboxError, match="the account p has several passwords"):
        htpasswd(str(tmp_path / "none"), {"p": {"x": "one", "y": "two"}})
