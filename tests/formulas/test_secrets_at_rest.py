"""Secrets in etcd get a new key: the script of the states, on Debian's etcd and on real API servers."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import programs
from tests.controlplane import control_plane, free_port
from tests.formulas.test_hosts import compiled_states

from pillarbox import pki
from pillarbox.model import Inventory

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "formulas/kubernetes/files/secrets-at-rest"
Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.compiled


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Run]:
    """Runs the script, or etcdctl, on a new etcd with the certificates that a host has."""
    if (found := programs.compiled("etcd", "etcd")) is None:
        pytest.skip("no etcd here: set PILLARBOX_PROGRAMS, or make the lab, which compiles it")
    server, client = str(found), str(found.with_name("etcdctl"))
    url, peer = f"https://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    names = {"etcd-server": ["server", "client"], "kubernetes-apiserver-etcd": ["client"]}
    asked = {
        name: {"ca": "etcd", "common_name": name, "alternative_names": ["IP:127.0.0.1"], "usage": usage}
        for name, usage in names.items()
    }
    pillar = {"_reclass_": {"name": {"full": "host"}}, "pki": {"certificate": asked}}
    folder = tmp_path / "etc/kubernetes/pki"
    folder.mkdir(parents=True)
    for name, material in pki.issue(pillar, tmp_path / "issued")["pki"]["certificate"].items():
        (folder / f"{name}.crt").write_text(material["certificate"])
        (folder / f"{name}.key").write_text(material["key"])
        (folder / "etcd-ca.crt").write_text(material["ca_certificate"])
    script = tmp_path / "secrets-at-rest"
    script.write_text(SCRIPT.read_text().replace("/etc/kubernetes", f"{tmp_path}/etc/kubernetes"))
    own = (f"--cacert={folder}/etcd-ca.crt", f"--cert={folder}/etcd-server.crt", f"--key={folder}/etcd-server.key")
    environment = {**os.environ, "PATH": f"{Path(client).parent}:{os.environ['PATH']}"}

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = ["etcdctl", f"--endpoints={url}", *own, *arguments]
        if arguments[0].startswith("--"):
            command = ["sh", str(script), arguments[0], url, *arguments[1:]]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment)

    command = [
        *(server, f"--data-dir={tmp_path}/data", f"--listen-client-urls={url}", f"--advertise-client-urls={url}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"),
        *(f"--trusted-ca-file={folder}/etcd-ca.crt", "--client-cert-auth"),
        *(f"--cert-file={folder}/etcd-server.crt", f"--key-file={folder}/etcd-server.key"),
    ]
    with (tmp_path / "log").open("ab") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while run("endpoint", "health").returncode != 0:
            assert running.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield run
    finally:
        running.terminate()
        running.wait()


def put(run: Run, name: str, key: str) -> None:
    value = f"k8s:enc:secretbox:v1:{key}:\x01\x02\nk8s" if key else "k8s\x01 in the clear"
    assert run("put", f"/registry/secrets/default/{name}", stdin=value).returncode == 0


def test_what_is_written_by_another_key_is_found(etcd: Run) -> None:
    assert etcd("--check", "key1").returncode == 0, "none is there yet"
    put(etcd, "one", "key1")
    put(etcd, "two", "key2")
    assert [etcd("--check", key).returncode for key in ("key1", "key2")] == [1, 1]
    put(etcd, "one", "key2")
    assert [etcd("--check", key).returncode for key in ("key1", "key2")] == [1, 0]
    put(etcd, "three", "")
    assert etcd("--check", "key2").returncode == 1, "one that nobody encrypted"


def test_a_configuration_without_a_key_that_is_needed_is_refused(etcd: Run, tmp_path: Path) -> None:
    put(etcd, "one", "key1")
    put(etcd, "two", "key2")
    new = tmp_path / "new"

    def known(*keys: str) -> subprocess.CompletedProcess[str]:
        new.write_text("".join(f"      - name: {key}\n        secret: x\n" for key in keys))
        return etcd("--known", str(new))

    assert known().returncode == 0, "a host that has no configuration yet"
    (tmp_path / "etc/kubernetes/encryption.yml").write_text("")
    assert known("key3", "key2", "key1").returncode == 0
    refused = known("key2", "key3", "key11")
    assert refused.returncode == 1 and "need key1, which would go" in refused.stderr


def test_an_etcd_that_does_not_answer_is_no_yes(etcd: Run, tmp_path: Path) -> None:
    (tmp_path / "etc/kubernetes/encryption.yml").write_text("")
    (tmp_path / "etc/kubernetes/pki/kubernetes-apiserver-etcd.key").write_text("damaged")
    assert etcd("--check", "key1").returncode != 0
    assert etcd("--known", "/dev/null").returncode != 0


def configuration(directory: Path, serial: int) -> str:
    """What the formula writes for an API server at that serial; the keys are in ``directory``."""
    parameters = dict(Inventory(ROOT).node("kmst01").parameters)
    asked = {"type": "aes", "serial": serial}
    parameters["pki"] = {**parameters["pki"], "key": {**parameters["pki"]["key"], "kubernetes-encryption": asked}}
    own = directory / str(serial)
    own.mkdir()
    (own / "pki").symlink_to(directory / "pki")
    return compiled_states("kmst01", parameters, ["kubernetes"], own)[1]["/etc/kubernetes/encryption.yml"]


def test_all_secrets_are_written_again_while_they_change(tmp_path: Path) -> None:
    """Two API servers, one a rotation ahead of the other; then somebody changes a Secret all the time."""
    etcdctl = programs.compiled("etcd", "etcdctl")
    (tmp_path / "pki").mkdir()
    texts = {serial: configuration(tmp_path, serial) for serial in (1, 2, 3)}
    folder = tmp_path / "etc/kubernetes"
    (folder / "pki").mkdir(parents=True)
    for name in ("etcd-ca.crt", "kubernetes-apiserver-etcd.crt", "kubernetes-apiserver-etcd.key"):
        part = "crt" if name.endswith("crt") else "key"
        source = next((tmp_path / "pki/host/kmst01").glob(f"kubernetes-apiserver-etcd.{part}"))
        (folder / "pki" / name).write_bytes(source.read_bytes())
    ahead, behind = folder / "encryption.yml", folder / "behind.yml"
    for file in (ahead, behind):
        file.write_text(texts[1])
    with control_plane(tmp_path, f"--encryption-provider-config={ahead}") as plane:
        kubectl = programs.compiled("kubernetes", "kubectl")
        assert etcdctl and kubectl
        (folder / "admin.conf").write_text(plane.kubeconfig.read_text())
        script = tmp_path / "secrets-at-rest"
        script.write_text(SCRIPT.read_text().replace("/etc/kubernetes", str(folder)))
        environment = {**os.environ, "PATH": f"{kubectl.parent}:{Path(etcdctl).parent}:{os.environ['PATH']}"}

        def run(*command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment)

        def at_rest(*arguments: str) -> int:
            return run("sh", str(script), *arguments[:-1], plane.etcd, arguments[-1]).returncode

        def ask(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
            done = run("kubectl", "--kubeconfig", str(kubeconfig), "--namespace", "test", *arguments, stdin=stdin)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def value(kubeconfig: Path, name: str) -> str:
            return ask(kubeconfig, "get", "secret", name, "--output=jsonpath={.data.key}")

        ask(plane.kubeconfig, "create", "namespace", "test")
        secret = {"apiVersion": "v1", "kind": "Secret"}
        made = [{**secret, "metadata": {"name": f"s{each}"}, "stringData": {"key": f"{each}"}} for each in range(20)]
        items = {"apiVersion": "v1", "kind": "List", "items": made}
        ask(plane.kubeconfig, "create", "--filename", "-", stdin=json.dumps(items))
        assert at_rest("--check", "key1") == 0
        before = [value(plane.kubeconfig, f"s{number}") for number in range(3)]

        with plane.another(f"--encryption-provider-config={behind}") as late:
            assert at_rest("--known", str(ahead)) == 0
            ahead.write_text(texts[2])
            plane.restart("kube-apiserver")
            ask(plane.kubeconfig, "create", "secret", "generic", "new", "--from-literal=key=new")
            ask(late, "create", "secret", "generic", "old", "--from-literal=key=old")
            assert value(late, "new") == value(plane.kubeconfig, "new")
            assert value(late, "old") == value(plane.kubeconfig, "old")
            assert [value(late, f"s{number}") for number in range(3)] == before
        assert (at_rest("--check", "key1"), at_rest("--check", "key2")) == (1, 1)

        stop = threading.Event()

        def change() -> None:
            while not stop.is_set():
                ask(plane.kubeconfig, "annotate", "--overwrite", "secret", "s0", f"now={time.monotonic()}")

        with ThreadPoolExecutor(1) as pool:
            changing = pool.submit(change)
            try:
                assert at_rest("key2") == 0
            finally:
                stop.set()
            changing.result()
        assert (at_rest("--check", "key1"), at_rest("--check", "key2")) == (1, 0)
        assert [value(plane.kubeconfig, f"s{number}") for number in range(3)] == before
        # The next rotation may come: it needs the first key no more.
        (tmp_path / "next.yml").write_text(texts[3])
        assert "key1" not in texts[3] and at_rest("--known", str(tmp_path / "next.yml")) == 0
