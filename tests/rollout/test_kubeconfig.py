"""A kubeconfig that is none is an error of the person's, and shows nothing of what stands in it."""

from __future__ import annotations

import base64
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.controlplane import ControlPlane

from pillarbox.pipeline.prepare import choose
from pillarbox.pki import authority
from pillarbox.pki.request import CertificateRequest
from pillarbox.rollout import ApiError, Cluster, Kubeconfig, RolloutError, Unreachable


@pytest.mark.parametrize("pushed", [None, ()])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe hunter2",
        b"[hunter2",
        b"hunter2",
        b"{}",
        b"contexts: hunter2",
        b"current-context: a\ncontexts: hunter2\nclusters: 1\nusers: 3\n",
        b"current-context: a\ncontexts: [{name: a, context: hunter2}]\nclusters: [1]\nusers: [{name: u}]\n",
    ],
)
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, content: bytes, pushed: tuple[Path, ...] | None) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    with pytest.raises(Unreachable, match="not a usable kubeconfig") as raised:
        Cluster(Kubeconfig(file, pushed))
    assert "hunter2" not in str(raised.value)


def kubeconfig(file: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Path:
    """A kubeconfig with that user, of a cluster where nobody answers."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    file.chmod(0o600)
    return file


def program(trap: Path) -> dict[str, Any]:
    run = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "touch", "args": [str(trap)]}
    return {"exec": {**run, "interactiveMode": "Never"}}


def test_a_pusher_runs_no_program_by_a_kubeconfig(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    file = kubeconfig(tmp_path / "kubeconfig", program(trap))
    with pytest.raises(RolloutError, match="user u has exec, which runs a program"):
        Cluster(choose(None, file, [tmp_path / "srv"]))
    assert not trap.exists()
    helper = {"name": "gcp", "config": {"cmd-path": "touch", "cmd-args": str(trap), "expiry": "2000-01-01T00:00:00Z"}}
    kubeconfig(file, {"auth-provider": helper})
    with pytest.raises(RolloutError, match="user u has auth-provider, which runs a program"):
        Cluster(choose(None, file, [tmp_path / "srv"]))
    assert not trap.exists()
    # The operator's own may.
    kubeconfig(file, program(trap))
    Cluster(choose(file, Path("/elsewhere"), [tmp_path / "srv"])).close()
    assert trap.exists()


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"tokenFile": "/etc/shadow"}, {}),
        ({"client-certificate": "/etc/shadow"}, {}),
        ({"client-key": "../secret"}, {}),
        ({"tokenFile": "link"}, {}),
        ({}, {"certificate-authority": "/etc/ssl/certs/ca-certificates.crt"}),
    ],
)
def test_a_pusher_reads_no_file_of_the_master_by_a_kubeconfig(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any]
) -> None:
    file = kubeconfig(tmp_path / "own" / "kubeconfig", user, cluster)
    (tmp_path / "own" / "link").symlink_to("../secret")
    (tmp_path / "secret").write_text("hunter2")
    with pytest.raises(RolloutError, match="is not below"):
        Cluster(choose(None, file))


def test_a_pusher_names_no_kubeconfig_of_a_push(tmp_path: Path) -> None:
    """The tree of a pushed revision is root's as well: its owner alone says nothing."""
    file = kubeconfig(tmp_path / "published" / "kubeconfig", {"token": "x"})
    (tmp_path / "link").symlink_to(file)
    for named in (file, tmp_path / "link", tmp_path / "published" / ".." / "link"):
        with pytest.raises(RolloutError, match="lies where pushes are written"):
            Cluster(choose(None, named, [tmp_path / "published"]))
    with pytest.raises(RolloutError, match="by an absolute path"):
        Kubeconfig(Path("kubeconfig"), ()).read()


@pytest.mark.parametrize("path", ["own", "own/kubeconfig"])
def test_a_kubeconfig_that_others_can_write_is_not_believed(tmp_path: Path, path: str) -> None:
    file = kubeconfig(tmp_path / "own" / "kubeconfig", {"token": "x"})
    Cluster(choose(None, file)).close()
    (tmp_path / path).chmod(0o777)
    with pytest.raises(RolloutError, match=f"others than the operator can write {tmp_path / path}"):
        Cluster(choose(None, file))
    (tmp_path / path).chmod(0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path / path, 12345, 12345)
        with pytest.raises(RolloutError, match="others than the operator"):
            Cluster(choose(None, file))


def test_a_certificate_that_holds_no_more_or_not_yet_is_named(
    apiserver: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.Authority.create("test")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(own.certificate_pem)
    request = CertificateRequest("admin", "test", "admin", ("system:masters",), (), ("client",))

    def ask(server: Path, days: int, skew: timedelta) -> str:
        monkeypatch.setattr(authority, "_CERTIFICATE_DAYS", days)
        monkeypatch.setattr(authority, "_SKEW", skew)
        key, certificate = (base64.b64encode(part).decode() for part in own.sign(request))
        content = yaml.safe_load(server.read_text())
        content["users"][0]["user"] = {"client-certificate-data": certificate, "client-key-data": key}
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(content))
        with Cluster(file) as cluster:
            try:
                return str(len(cluster.list("v1", "Namespace")[0]) > 0)
            except ApiError as error:
                return f"{error.status} {error}"

    with apiserver.another(f"--client-ca-file={ca}") as server:
        assert ask(server, 1, timedelta(minutes=10)) == "True"
        ended = ask(server, -1, timedelta(days=2))
        assert ended.startswith("401") and f"certificate in {tmp_path}/kubeconfig ended on " in ended
        early = ask(server, 1, timedelta(hours=-1))
        assert early.startswith("401") and "is not valid before" in early and "is the clock right?" in early
