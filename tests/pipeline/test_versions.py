"""Which versions of hosts are refused: by what hosts had before, and by what others have."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import knobs
from tests.pipeline.support import Deployment, git

from pillarbox.pipeline.check import check
from pillarbox.pipeline.deployed import note
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.record import RunKind, RunState
from pillarbox.pipeline.versions import refuse_skips
from pillarbox.revision import Revision
from pillarbox.system.errors import PillarboxError


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("1.36.1", "1.36.3", None),
        ("1.36.3", "1.36.1", None),
        ("1.36.3", "1.37.0", None),
        ("1.35.4", "1.37.2", "up by one minor version at a time"),
        ("1.37.2", "1.36.3", "does not go back to another minor version"),
        ("1.37.2", "2.0.0", "up by one minor version at a time"),
        ("zed", "epoxy", None),
    ],
)
def test_minor_versions_are_taken_one_by_one(tmp_path: Path, old: str, new: str, why: str | None) -> None:
    def revision(version: str) -> Revision:
        write(tmp_path / version, {"c1": stepwise(version)})
        return Revision.read(tmp_path / version)

    after = revision(new)
    if why is None:
        refuse_skips(revision(old).hosts, after)
        return
    with pytest.raises(PipelineError, match=f"host c1: server:version goes from {old} to {new}: it .*{why}") as raised:
        refuse_skips(revision(old).hosts, after)
    assert (raised.value.file, raised.value.line) == ("nodes/c1.yml", 3)
    assert raised.value.hint and old in raised.value.hint
    # A host that is new has nothing to skip.
    refuse_skips({}, after)


def stepwise(version: str) -> dict[str, Any]:
    data = written(version)
    data["parameters"]["pillarbox"]["update"]["step_by_step"] = ["server:version"]
    return data


def leads(version: Any, group: str = "one", behind: int = 1) -> dict[str, Any]:
    return written(version, {"path": "server:version", "group": group, "leads": True, "behind": behind})


def follows(version: Any, group: str = "one", behind: int = 3) -> dict[str, Any]:
    return written(version, {"path": "server:version", "group": group, "behind": behind})


def written(version: Any, *rules: dict[str, Any]) -> dict[str, Any]:
    """A host's file, whose version is that of a knob."""
    return {
        "parameters": {
            "_param": {} if version is None else {"version": version},
            "salt": {"minion": {}},
            "pillarbox": {"update": {"side_by_side": list(rules)}},
            **({} if version is None else {"server": {"version": "${_param:version}"}}),
        }
    }


def found(model: Path, hosts: dict[str, dict[str, Any]]) -> tuple[PillarboxError, ...]:
    """What is wrong with a model of these hosts."""
    write(model, hosts)
    return check(model)[0]


def write(model: Path, hosts: dict[str, dict[str, Any]]) -> None:
    for folder in ("nodes", "classes"):
        (model / folder).mkdir(parents=True, exist_ok=True)
    for name, data in hosts.items():
        (model / f"nodes/{name}.yml").write_text(yaml.safe_dump(data, sort_keys=False))


@pytest.mark.parametrize(
    ("hosts", "wrong"),
    [
        (
            {"m1": leads("1.35.4"), "n1": follows("1.37.2")},
            "host n1: server:version is 1.37.2, newer than 1.35.4 of host m1",
        ),
        (
            {"m1": leads("1.37.2"), "n1": follows("1.33.1")},
            "host n1: server:version is 1.33.1, more than 3 minor versions behind 1.37.2 of host m1",
        ),
        (
            {"m1": leads("1.37.2"), "m2": leads("1.35.4")},
            "host m2: server:version is 1.35.4, more than 1 minor version behind 1.37.2 of host m1",
        ),
        (
            {"m1": leads("1.37.2"), "m2": leads("1.35.4"), "m3": leads("1.37.0")},
            "host m2: server:version is 1.35.4, more than 1 minor version behind 1.37.2 of host m1",
        ),
        # As old as the oldest that leads, though it asks others, too.
        (
            {"m1": leads("1.37.2"), "m2": leads("1.36.3"), "m3": leads("1.37.2"), "n1": follows("1.37.2")},
            "host n1: server:version is 1.37.2, newer than 1.36.3 of host m2",
        ),
        (
            {"m1": leads("1.37.2"), "m2": leads("1.36.3"), "n1": follows("1.33.1")},
            "host n1: server:version is 1.33.1, more than 3 minor versions behind 1.37.2 of host m1",
        ),
        (
            {"m1": leads("2.0.0"), "n1": follows("1.37.2")},
            "host n1: server:version is 1.37.2, more than 3 minor versions behind 2.0.0 of host m1",
        ),
        (
            {"m1": leads("1.36.3"), "n1": follows("1.37.2"), "n2": follows("1.37.2"), "n3": follows("1.37.2")},
            "host n1 and 2 more: server:version is 1.37.2, newer than 1.36.3 of host m1",
        ),
    ],
    ids=["newer", "older", "two that lead", "one of three", "oldest", "newest", "another major", "several"],
)
def test_versions_that_do_not_go_together_are_named(
    tmp_path: Path, hosts: dict[str, dict[str, Any]], wrong: str
) -> None:
    (error,) = found(tmp_path, hosts)
    assert error.message == wrong
    name = wrong.split()[1].rstrip(":")
    assert error.file == f"nodes/{name}.yml"
    line = (tmp_path / error.file).read_text().splitlines()[(error.line or 0) - 1]
    assert line.strip() == f"version: {hosts[name]['parameters']['_param']['version']}"
    other = wrong.split()[-1]
    assert error.hint and other in error.hint and re.search(rf"is at nodes/{other}\.yml:3\.$", error.hint)


@pytest.mark.parametrize(
    "hosts",
    [
        {"m1": leads("1.37.2"), "n1": follows("1.37.9"), "n2": follows("1.34.0")},
        {"m1": leads("1.37.2"), "m2": leads("1.36.3"), "n1": follows("1.36.3"), "n2": follows("1.34.0")},
        {"m1": leads("1.35.4"), "n1": follows("1.37.2", group="other"), "m2": leads("1.37.2", group="other")},
        {"m1": leads("1.35.4")},
        {"n1": follows("1.37.2"), "n2": follows("1.30.0")},
        {"m1": leads("1.35.4"), "n1": follows(None), "n2": follows("/srv/programs/1.37"), "n3": follows("main")},
        {"m1": leads("zed"), "n1": follows("1.37.2")},
        {
            "m1": leads("1.35.4"),
            "n1": written("1.37.2", {"path": "other:version", "group": "one", "behind": 3}),
        },
    ],
    ids=["near", "two", "other group", "alone", "nobody leads", "no version", "none that leads", "other path"],
)
def test_what_goes_together_or_is_not_compared_is_sound(tmp_path: Path, hosts: dict[str, dict[str, Any]]) -> None:
    assert found(tmp_path, hosts) == ()


def test_who_leads_may_follow_as_well(tmp_path: Path) -> None:
    """A master that runs pods, beside one that is older."""
    both = written(
        "1.37.2", *(each["parameters"]["pillarbox"]["update"]["side_by_side"][0] for each in (leads(""), follows("")))
    )
    (error,) = found(tmp_path, {"m1": both, "m2": leads("1.36.3")})
    assert error.message == "host m1: server:version is 1.37.2, newer than 1.36.3 of host m2"


def test_what_cannot_be_meant_is_no_sound_model(tmp_path: Path) -> None:
    (error,) = found(tmp_path, {"m1": written("1.37.2", {"path": "server:version"})})
    assert "pillarbox:update of host m1" in error.message and error.file == "nodes/m1.yml"


PARTS = ("classes", "nodes", "formulas", "images")


def test_the_reference_deployment_goes_up_by_one_line(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    model = knobs.copy(deployment.work, *PARTS)
    deployment.places.ensure()

    def pushed(deployed: bool) -> str:
        """What a push says: one that goes in and is deployed, or one that is refused and taken back."""
        revision = deployment.commit({})
        done = deployment.push(check=False)
        assert (done.returncode == 0) is deployed, done.stderr
        if deployed:
            deployment.runs.start(RunKind.DEPLOY, revision, "Ann").finish(RunState.SUCCEEDED)
            note(deployment.places)
        else:
            git("reset", "-q", "--hard", "HEAD~", cwd=model)
        return done.stderr

    def knob(old: str, new: str) -> None:
        knobs.turn(model, f"kubernetes_version: {old}", f"kubernetes_version: {new}")

    path = "program:source:program:kubernetes:version"
    knob("1.37.2", "1.35.4")
    pushed(deployed=True)
    knob("1.35.4", "1.37.2")
    assert f"{path} goes from 1.35.4 to 1.37.2: it goes up by one minor version" in pushed(deployed=False)
    knob("1.35.4", "1.36.3")
    pushed(deployed=True)
    # Of the nodes alone.
    pool = model / "classes/cluster/lab/kubernetes/pool.yml"
    pool.write_text(pool.read_text().replace("parameters:\n", "parameters:\n  _param: {kubernetes_version: 1.37.2}\n"))
    line = 1 + pool.read_text().splitlines().index("  _param: {kubernetes_version: 1.37.2}")
    refused = pushed(deployed=False)
    assert (
        f"classes/cluster/lab/kubernetes/pool.yml:{line}: host ctl01 and 2 more: {path} is 1.37.2, "
        "newer than 1.36.3 of host kmst01"
    ) in refused
    assert f"its version is at {knobs.FILE}:" in refused
    knob("1.36.3", "1.37.2")
    pushed(deployed=True)
    knob("1.37.2", "1.36.3")
    assert f"{path} goes from 1.37.2 to 1.36.3: it does not go back" in pushed(deployed=False)


def test_of_the_reference_deployment_no_master_is_left_behind(tmp_path: Path) -> None:
    model = knobs.copy(tmp_path, *PARTS)
    knobs.turn(model, "kubernetes_masters: single", "kubernetes_masters: cluster")
    file = model / "nodes/hosts/kmst01.yml"
    shutil.copy(file, model / "nodes/hosts/kmst03.yml")
    knob = "parameters:\n  _param:\n    etcd_version: 3.5.1\n    kubernetes_version: 1.35.4\n"
    (model / "nodes/hosts/kmst02.yml").write_text(file.read_text() + knob)
    kubernetes, etcd = (f"program:source:program:{each}:version is" for each in ("kubernetes", "etcd"))
    errors, _ = check(model)
    assert {error.message for error in errors} == {
        "program:source:program:etcd: the model has no formulas/program/files/etcd/3.5.1/program.yml: "
        "`ci/pin-go-modules etcd 3.5.1` makes it; or name where its binaries are, by url and hash, or by path",
        f"host ctl01 and 2 more: {kubernetes} 1.37.2, newer than 1.35.4 of host kmst02",
        f"host kmst02: {kubernetes} 1.35.4, more than 1 minor version behind 1.37.2 of host kmst01",
        f"host kmst02: {etcd} 3.5.1, more than 1 minor version behind 3.7.3 of host kmst01",
    }
