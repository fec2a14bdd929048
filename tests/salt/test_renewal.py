"""Certificates that a host renews by itself: Salt's own states, from a pillar that changes under them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from tests.pipeline.support import Deployment, Salt

from pillarbox import pki
from pillarbox.pki import authority
from pillarbox.system import waiting

SALT_CALL = str(Path(sys.executable).with_name("salt-call"))

STATES = """\
certificate:
  file.managed:
  - name: {root}/server.crt
  - contents_pillar: pki:certificate:server:certificate
  - watch_in:
    - service: reloads

admin:
  file.managed:
  - name: {root}/admin.conf
  - source: salt://admin.conf
  - template: jinja
  - context:
      certificate: admin

other:
  file.managed:
  - name: {root}/other
  - contents_pillar: other

restarts:
  service.running:
  - name: restarts
  - watch:
    - file: certificate
    - file: other

reloads:
  service.running:
  - name: reloads
  - reload: true

stopped:
  service.running:
  - name: stopped
  - watch:
    - file: certificate

unrelated:
  service.running:
  - name: unrelated
  - watch:
    - file: other
    - file: admin
"""
# Where tests run there need be no init system.
SERVICES = """\
import pathlib
LOG = pathlib.Path({log!r})
__virtualname__ = "service"
def __virtual__():
    return __virtualname__
def _note(verb, name):
    with LOG.open("a") as log:
        log.write(f"{{verb}} {{name}}\\n")
    return name != "breaks"
def status(name, *args, **kwargs):
    return name != "stopped"
def restart(name, *args, **kwargs):
    return _note("restart", name)
def reload(name, *args, **kwargs):
    return _note("reload", name)
"""


class Host:
    """A minion without a master, with the states above."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        for name in ("states", "pillar", "modules"):
            (root / name).mkdir()
        (root / "modules" / "recording_service.py").write_text(SERVICES.format(log=str(self.log)))
        self.states(STATES)
        (root / "states/admin.conf").write_text("{{ pillar.pki.certificate[certificate].certificate }}\n")
        (root / "states/top.sls").write_text("base: {'*': [host]}")
        (root / "pillar/top.sls").write_text("base: {'*': [host]}")
        config = {
            "id": "m1",
            "file_client": "local",
            "root_dir": str(root),
            "file_roots": {"base": [str(root / "states")]},
            "pillar_roots": {"base": [str(root / "pillar")]},
            "module_dirs": [str(root / "modules")],
            "providers": {"service": "recording_service"},
            "enable_fqdns_grains": False,
            "enable_gpu_grains": False,
        }
        (root / "minion").write_text(json.dumps(config))

    def states(self, text: str) -> None:
        (self.root / "states/host.sls").write_text(text.format(root=self.root))

    def issue(self, number: int, other: str = "as deployed") -> None:
        material = {name: {"certificate": f"{name} {number}\n"} for name in ("server", "admin")}
        (self.root / "pillar/host.sls").write_text(yaml.safe_dump({"pki": {"certificate": material}, "other": other}))

    def renew(self) -> tuple[dict[str, Any], int]:
        command = [SALT_CALL, "--local", f"--config-dir={self.root}", "--out=json", "--retcode-passthrough"]
        done = subprocess.run([*command, "pillarbox.renew_certificates"], capture_output=True, text=True)
        return json.loads(done.stdout)["local"], done.returncode

    def text(self, name: str) -> str:
        file = self.root / name
        return file.read_text() if file.exists() else ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_new_certificate_is_written_and_what_uses_it_is_restarted(host: Host) -> None:
    host.issue(1)
    host.renew()
    host.log.unlink()
    assert host.renew() == ({"changed": [], "services": [], "failed": []}, 0)
    assert host.text("log") == ""
    host.issue(2, other="not deployed")
    returned, code = host.renew()
    assert returned["changed"] == [f"{host.root}/admin.conf", f"{host.root}/server.crt"]
    assert (sorted(returned["services"]), returned["failed"], code) == (["reloads", "restarts", "unrelated"], [], 0)
    assert (host.text("server.crt"), host.text("admin.conf")) == ("server 2\n", "admin 2\n\n")
    assert sorted(host.text("log").splitlines()) == ["reload reloads", "restart restarts", "restart unrelated"]
    assert host.text("other") == "", "the rest of the highstate is a deploy's"


def test_what_fails_is_named(host: Host) -> None:
    host.states(STATES.replace("name: restarts", "name: breaks"))
    host.issue(1)
    returned, code = host.renew()
    assert (returned["failed"], code) == (["breaks: service.restart failed"], 1)
    host.states("broken: [")
    returned, code = host.renew()
    assert returned["failed"] and code == 1


@pytest.fixture
def alone() -> Iterator[Salt]:
    """A master, and a minion that asks for its certificates every other second; nobody applies its states."""
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    deployment = Deployment(root)
    model = deployment.places.published / ("0" * 40)
    for folder in ("classes", "nodes", "formulas/web"):
        (model / folder).mkdir(parents=True)
    node = {
        "applications": ["web"],
        "parameters": {"salt": {"minion": {}}, "pki": {"certificate": {"web": {"ca": "web", "common_name": "m1"}}}},
    }
    (model / "nodes/m1.yml").write_text(yaml.safe_dump(node))
    (model / "formulas/web/init.sls").write_text(
        f"web:\n  file.managed:\n  - name: {root}/web.crt\n  - contents_pillar: pki:certificate:web:certificate\n"
    )
    deployment.places.current.symlink_to(model.name)
    job = {"function": "pillarbox.renew_certificates", "seconds": 2, "run_on_start": False, "maxrunning": 1}
    daemons = Salt(deployment, ("m1",), minion_jobs={"renew": job})
    try:
        yield daemons.up()
    finally:
        daemons.close()
        shutil.rmtree(root, ignore_errors=True)


def test_a_host_that_no_deploy_touches_renews_its_certificates(alone: Salt, monkeypatch: pytest.MonkeyPatch) -> None:
    file = alone.deployment.root / "web.crt"

    def written(*others: str) -> str:
        found = ""

        def new() -> bool:
            nonlocal found
            found = file.read_text() if file.exists() else ""
            return bool(found) and found not in others

        assert waiting.until(new, "a certificate", patience=120, every=0.2)
        return found

    def left(certificate: str) -> timedelta:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc - datetime.now(UTC)

    first = written()
    stored = alone.root / "pki/host/m1/web.crt"
    near_end = first
    with monkeypatch.context() as patch:
        patch.setattr(authority, "_CERTIFICATE_DAYS", 29)
        # The master issues one that is missing, too: until it was not as fast.
        while left(near_end) > timedelta(days=30):
            shutil.rmtree(stored.parent, ignore_errors=True)
            pki.issue(
                {
                    "_reclass_": {"name": {"full": "m1"}},
                    "pki": {"certificate": {"web": {"ca": "web", "common_name": "m1"}}},
                },
                alone.root / "pki",
            )
            near_end = stored.read_text()
    assert left(written(first, near_end)) > timedelta(days=80)
