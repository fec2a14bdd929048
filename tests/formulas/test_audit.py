"""The audit log of a real API server, with the policy and the flags that the formula writes for the lab's master."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.controlplane import control_plane, folders
from tests.formulas.test_hosts import ROOT, compiled_states

from pillarbox.model import Inventory
from pillarbox.system.waiting import until

LOG = "/var/log/kubernetes/audit.log"
POLICY = "/etc/kubernetes/audit.yml"

pytestmark = pytest.mark.compiled


def flags(scratch: Path) -> list[str]:
    """The API server's flags for the audit log in the lab, with the policy and the log below ``scratch``."""
    scratch.mkdir()
    low, files = compiled_states("kmst01", dict(Inventory(ROOT).node("kmst01").parameters), ["kubernetes"], scratch)
    (policy,) = (chunk for chunk in low if chunk["state"] == "file" and chunk["name"] == POLICY)
    assert policy["mode"] == "0600"
    (scratch / "audit.yml").write_text(files[POLICY])
    unit = files["/etc/systemd/system/kube-apiserver.service"]
    found = dict(re.findall(r"^  --(audit-\S+)=(\S+)", unit, re.MULTILINE))
    found |= {"audit-policy-file": str(scratch / "audit.yml"), "audit-log-path": str(scratch / "log/audit.log")}
    return [f"--{name}={value}" for name, value in found.items()]


def test_who_asked_for_what_is_on_record_and_no_secret(tmp_path: Path) -> None:
    given = flags(tmp_path / "salt")
    log = tmp_path / "salt/log/audit.log"
    with control_plane(tmp_path, *given) as plane:
        kubectl = folders()["kube"] / "kubectl"

        def ask(*arguments: str, stdin: dict[str, Any] | None = None, fails: bool = False) -> str:
            command = [str(kubectl), f"--kubeconfig={plane.kubeconfig}", "--namespace=test", *arguments]
            given = json.dumps(stdin) if stdin else None
            done = subprocess.run(command, input=given, capture_output=True, text=True)
            assert (done.returncode != 0) == fails, done.stdout + done.stderr
            return done.stdout + done.stderr

        def events() -> list[dict[str, Any]]:
            return [json.loads(line) for line in log.read_text().splitlines()]

        def on_record(verb: str, resource: str, name: str, **more: str) -> dict[str, Any] | None:
            wanted = {"resource": resource, "namespace": "test", "name": name, **more}.items()
            found = (each for each in events() if each["verb"] == verb)
            return next((each for each in found if wanted <= each.get("objectRef", {}).items()), None)

        # Text, which is no number; and digits that are nowhere else.
        texts = [f"hidden-{secrets.token_hex(16)}" for _ in range(4)]
        numbers = [10**17 + secrets.randbelow(10**17) for _ in range(3)]
        ask("create", "namespace", "test")
        ask("create", "serviceaccount", "robot")
        head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}}
        ask("create", "-f-", stdin={**head, "stringData": {"key": texts[0]}})
        ask("apply", "--server-side", "-f-", stdin={**head, "stringData": {"other": texts[1]}})
        ask("patch", "secret", "one", "--patch", json.dumps({"stringData": {"key": texts[2]}}))
        ask("get", "secret", "one", "--output=json")
        # What is refused is told with its values, and with those beside them.
        refused = [json.dumps({"stringData": {"key": each, "other": texts[3]}}) for each in numbers]
        ask("apply", "--server-side", "--force-conflicts", "-f-", stdin=head | json.loads(refused[0]), fails=True)
        assert texts[3] in ask("patch", "secret", "one", "--patch", refused[1], fails=True)
        named = {**head, "metadata": {"name": "two"}} | json.loads(refused[2])
        ask("create", "--validate=false", "-f-", stdin=named, fails=True)
        token = ask("create", "token", "robot").strip()
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        assert '"authenticated": true' in ask("create", "--output=json", "-f-", stdin=review)
        ask("create", "configmap", "last", "--from-literal=a=b")
        until(lambda: on_record("create", "configmaps", "last"), "the last request in the log", patience=60)

        event = on_record("create", "configmaps", "last")
        assert event and event["user"]["username"] == "admin" and event["responseStatus"]["code"] == 201
        for verb, ends in {"create": True, "get": True, "patch": False}.items():
            found = on_record(verb, "secrets", "one")
            assert found and found["user"]["username"] == "admin" and ("responseStatus" in found) == ends, verb
        assert on_record("create", "serviceaccounts", "robot", subresource="token")
        assert {each["level"] for each in events()} == {"Metadata"}
        text = "".join(file.read_text() for file in log.parent.iterdir())
        hidden = [*texts, *map(str, numbers), token, token.split(".")[2], plane.token]
        hidden += [base64.b64encode(each.encode()).decode() for each in texts]
        assert [each for each in hidden if each in text] == []
        assert {file.stat().st_mode & 0o777 for file in log.parent.iterdir()} == {0o600}
