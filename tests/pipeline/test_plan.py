"""What a plan says of a change, before anything is done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.support import Deployment

from pillarbox.pipeline import plan
from pillarbox.system.errors import PillarboxError


@pytest.fixture
def web(model: dict[str, Any]) -> dict[str, Any]:
    control = model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["service"] = {
        "web-server": {
            "service": "web",
            "role": "server",
            "kind": "Deployment",
            "replicas": 2,
            "container": {"web": {"image": "example.org/web", "tag": "${_param:tag}"}},
        }
    }
    model["classes/cloud.yml"]["parameters"]["_param"]["tag"] = "1"
    return model


def test_the_first_plan_counts_from_nothing(deployment: Deployment, web: dict[str, Any]) -> None:
    made = plan.make(deployment.work, None, deployment.commit(web), registry=False)
    assert [item.name for item in made.hosts] == ["m1"]
    assert {(item.kind, item.name, item.action) for item in made.workloads} >= {("Deployment", "web-server", "appears")}
    assert "(the first)" in made.as_text()


def test_no_change_says_so(deployment: Deployment, web: dict[str, Any]) -> None:
    base = deployment.commit(web)
    head = deployment.commit({"README.md": "words"})
    made = plan.make(deployment.work, base, head, registry=False)
    assert made.empty and "nothing changes" in made.as_text()


def test_a_knob_changes_what_uses_it(deployment: Deployment, web: dict[str, Any]) -> None:
    base = deployment.commit(web)
    web["classes/cloud.yml"]["parameters"]["_param"] |= {"tag": "2"}
    made = plan.make(deployment.work, base, deployment.commit(web), registry=False)
    assert [(item.name, item.action, item.why) for item in made.workloads] == [
        ("web-server", "rolls", ("image example.org/web:2",))
    ]
    assert made.hosts == ()
    web["classes/cloud.yml"]["parameters"]["_param"] |= {"greeting": "bye"}
    made = plan.make(deployment.work, base, deployment.commit(web), registry=False)
    assert [(item.name, item.why) for item in made.hosts] == [("m1", ("demo.text",))]


def test_what_rolls_without_a_second_replica_is_told(deployment: Deployment, web: dict[str, Any]) -> None:
    server = web["nodes/control.yml"]["parameters"]["kubernetes"]["control"]["service"]["web-server"]
    server |= {"kind": "StatefulSet", "replicas": 1}
    base = deployment.commit(web)
    web["classes/cloud.yml"]["parameters"]["_param"] |= {"tag": "2"}
    made = plan.make(deployment.work, base, deployment.commit(web), registry=False)
    assert [note for note in made.notes if "StatefulSet web-server is away" in note]
    server["replicas"] = 2
    base = deployment.commit(web)
    web["classes/cloud.yml"]["parameters"]["_param"] |= {"tag": "3"}
    assert not plan.make(deployment.work, base, deployment.commit(web), registry=False).notes


def test_going_back_behind_a_release_whose_schema_is_contracted_is_told(
    deployment: Deployment, web: dict[str, Any]
) -> None:
    control = web["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["service"]["web-server"]["release"] = "${_param:tag}"
    web["classes/cloud.yml"]["parameters"]["_param"] |= {"tag": "2025.1"}
    without = deployment.commit(web)
    contract = {"service": "web", "phase": "contract", "release": "${_param:tag}"}
    control["job"] = {"contract": contract | {"container": control["service"]["web-server"]["container"]}}
    new = deployment.commit(web)
    web["classes/cloud.yml"]["parameters"]["_param"] |= {"tag": "2022.2"}
    old = deployment.commit(web)
    (note,) = plan.make(deployment.work, new, old, registry=False).notes
    assert note.startswith("web goes back from release 2025.1 to 2022.2: the deploy refuses that")
    assert not plan.make(deployment.work, old, new, registry=False).notes
    assert not plan.make(deployment.work, without, old, registry=False).notes


def test_scaling_is_no_roll_and_leaving_is_told(deployment: Deployment, web: dict[str, Any]) -> None:
    base = deployment.commit(web)
    control = web["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["service"]["web-server"]["replicas"] = 3
    del control["configmap"]
    made = plan.make(deployment.work, base, deployment.commit(web), registry=False)
    assert [(item.kind, item.action) for item in made.workloads] == [("Deployment", "updates"), ("ConfigMap", "goes")]


def test_an_object_of_any_kind_is_in_the_plan(deployment: Deployment, web: dict[str, Any]) -> None:
    base = deployment.commit(web)
    nightly = {"api_version": "example.org/v1", "kind": "Backup", "body": {"spec": {"schedule": "daily"}}}
    control = web["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["object"] = {"nightly": nightly}
    added = deployment.commit(web)
    made = plan.make(deployment.work, base, added, registry=False)
    assert "Backup nightly: appears" in made.as_text() and made.hosts == ()
    nightly["body"]["spec"]["schedule"] = "hourly"
    made = plan.make(deployment.work, added, deployment.commit(web), registry=False)
    assert "Backup nightly: updates (spec.schedule)" in made.as_text()
    del control["object"]
    assert "Backup nightly: goes" in plan.make(deployment.work, added, deployment.commit(web), registry=False).as_text()


def test_a_formula_changes_the_hosts_that_run_it(deployment: Deployment, web: dict[str, Any]) -> None:
    base = deployment.commit({**web, "formulas/demo/init.sls": "{}\n", "formulas/other/init.sls": "{}\n"})
    head = deployment.commit({"formulas/demo/init.sls": "a: test.nop\n", "formulas/other/init.sls": "a: test.nop\n"})
    made = plan.make(deployment.work, base, head, registry=False)
    assert [(item.name, item.why) for item in made.hosts] == [("m1", ("formulas/demo/init.sls",))]


def test_a_base_that_does_not_render_counts_as_nothing(deployment: Deployment, web: dict[str, Any]) -> None:
    base = deployment.commit({**web, "classes/cloud.yml": "{"})
    made = plan.make(deployment.work, base, deployment.commit(web), registry=False)
    assert made.notes and "does not render" in made.notes[0] and made.hosts
    with pytest.raises(PillarboxError):
        plan.make(deployment.work, None, base, registry=False)


def test_hosts_of_a_base_whose_manifests_do_not_render_are_not_new(deployment: Deployment, web: dict[str, Any]) -> None:
    """As where Pillarbox asks for more than it did: no version is skipped for it, nor hosts updated together."""
    control = web["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["object"] = {"other": {"kind": "Backup"}}
    base = deployment.commit({**web, "formulas/demo/init.sls": "{}\n"})
    del control["object"]
    head = deployment.commit({**web, "formulas/demo/init.sls": "a: test.nop\n"})
    made = plan.make(deployment.work, base, head, registry=False)
    assert "does not render" in made.notes[0] and made.workloads
    assert [(item.name, item.why) for item in made.hosts] == [("m1", ("formulas/demo/init.sls",))]
    assert set(plan.known(deployment.work, base)) == {"m1"}
    assert plan.known(deployment.work, "0" * 40) == {}


def test_an_image_is_built_for_a_reason(deployment: Deployment, repository: Path) -> None:
    """Another release is one line of the model, and a new build of what has a version, a base or packages by it."""
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, deployment.work / part)
    base = deployment.commit({})
    knobs = (repository / "classes/cluster/lab/init.yml").read_text()
    epoxy = deployment.commit({"classes/cluster/lab/init.yml": knobs.replace("version: zed", "version: epoxy")})
    made = plan.make(deployment.work, base, epoxy, registry=False)
    assert {item.name for item in made.images} == {"keystone-server", "glance-server", "placement-server"}
    assert all(item.why[0] == "version zed -> epoxy" for item in made.images)
    assert "keystone-server: build (version zed -> epoxy" in made.as_text()
    readme, states = "formulas/memcached/README.md", "formulas/memcached/server.sls"
    head = deployment.commit({name: (repository / name).read_text() + "\n# More.\n" for name in (readme, states)})
    (image,) = plan.make(deployment.work, epoxy, head, registry=False).images
    assert (image.name, image.why) == ("memcached-server", (states,))
