"""The formulas of images: their sample pillars, their schemas, and what the reference deployment makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests import knobs

from pillarbox.images.dynamic import names
from pillarbox.images.spec import ImageSpec, image_specs
from pillarbox.manifests import render
from pillarbox.model import Inventory

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = sorted({image.service for image in image_specs(Inventory(ROOT)).values()})
KNOB = "openstack_version: zed"


def schema(formula: str) -> dict:
    return yaml.safe_load((ROOT / "formulas" / formula / "schemas" / "server.yml").read_text())


def samples(formula: str) -> list[dict]:
    """The formula's own pillars in its README."""
    text = (ROOT / "formulas" / formula / "README.md").read_text()
    found = [yaml.safe_load(part.split("```")[0]) for part in text.split("```yaml\n")[1:]]
    return [pillar for pillar in found if formula in pillar]


@pytest.fixture(scope="module")
def zed() -> dict[str, ImageSpec]:
    return image_specs(Inventory(ROOT))


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model after the one line of the upgrade."""
    model = tmp_path_factory.mktemp("upgraded")
    for folder in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(ROOT / folder, model / folder)
    knobs.turn(model, KNOB, "openstack_version: epoxy")
    return model


@pytest.mark.parametrize("formula", FORMULAS)
def test_sample_pillars_obey_the_schema(formula: str) -> None:
    found = samples(formula)
    assert found
    for pillar in found:
        jsonschema.Draft202012Validator(schema(formula)).validate(pillar[formula]["server"])


@pytest.mark.parametrize("formula", FORMULAS)
def test_reference_pillar_obeys_the_schema(formula: str, zed: dict[str, ImageSpec]) -> None:
    pillar = zed[f"{formula}-server"].pillar
    jsonschema.Draft202012Validator(schema(formula)).validate(pillar[formula]["server"])


def test_passwords_in_the_clear_are_refused() -> None:
    pillar = samples("keystone")[0]["keystone"]["server"]
    pillar["database"]["password"] = "workshop"
    with pytest.raises(jsonschema.ValidationError, match="workshop"):
        jsonschema.Draft202012Validator(schema("keystone")).validate(pillar)


def test_every_secret_is_dynamic(zed: dict[str, ImageSpec]) -> None:
    assert "KEYSTONE_DATABASE_PASSWORD" in zed["keystone-server"].dynamic
    assert "MARIADB_ADMIN_PASSWORD" in zed["mariadb-server"].dynamic
    assert set(names(zed["glance-server"].pillar)) >= {"GLANCE_DATABASE_PASSWORD", "GLANCE_SERVICE_PASSWORD"}
    assert set(zed["rabbitmq-server"].dynamic) == {"RABBITMQ_ERLANG_COOKIE", "RABBITMQ_OPENSTACK_PASSWORD"}
    assert zed["memcached-server"].dynamic == ()


def test_upgrade_changes_the_openstack_images_and_no_other(zed: dict[str, ImageSpec], upgraded: Path) -> None:
    epoxy = image_specs(Inventory(upgraded))
    assert epoxy.keys() == zed.keys()
    changed = {name for name in zed if zed[name].content_key != epoxy[name].content_key}
    assert (
        changed == {name for name in zed if "openstack" in zed[name].formulas} >= {"keystone-server", "glance-server"}
    )
    assert {epoxy[name].version for name in changed} == {"epoxy"}
    assert {epoxy[name].base.name for name in changed} == {"trixie"}


def test_third_release_is_one_more_class(upgraded: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(upgraded, model)
    releases = model / "classes/system/openstack/release"
    (releases / "next.yml").write_text((releases / "epoxy.yml").read_text().replace("2025.1", "2025.2"))
    knobs.turn(model, "openstack_version: epoxy", "openstack_version: next")
    specs = image_specs(Inventory(model))
    assert specs["keystone-server"].reference.endswith("/keystone-server:next")


def test_schema_is_expanded_before_the_roll_and_contracted_after_it() -> None:
    inventory = Inventory(ROOT)
    manifests = render(inventory, image_specs(inventory))
    after: dict[str, set[str]] = {}
    for manifest in manifests:
        if manifest.workload:
            after[manifest.workload] = set(manifest.depends_on)

    def all_before(workload: str) -> set[str]:
        direct = after[workload]
        return direct.union(*(all_before(name) for name in direct))

    workloads = {name.split("/", 1)[-1] if name.count("/") > 1 else name: name for name in after}
    for service in ("keystone", "glance"):
        server, expand, contract = (
            workloads[name]
            for name in (f"service/{service}-server", f"job/{service}-expand", f"job/{service}-contract")
        )
        assert expand in all_before(server)
        assert server in all_before(contract)
    for service in ("keystone", "glance"):
        database, expand = workloads[f"job/{service}-database"], workloads[f"job/{service}-expand"]
        assert workloads["service/mariadb-server"] in all_before(database)
        assert database in all_before(expand)
    assert workloads["job/keystone-bootstrap"] in all_before(workloads["service/glance-server"])


def test_a_service_that_comes_or_goes_leaves_the_database_server_alone(tmp_path: Path) -> None:
    model = tmp_path / "model"
    for folder in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(ROOT / folder, model / folder)

    def mariadb() -> tuple[str, dict[str, str]]:
        inventory = Inventory(model)
        specs = image_specs(inventory)
        files = {manifest.filename: manifest.text for manifest in render(inventory, specs)}
        assert any(name.startswith("lab/glance-") for name in files) is (model / glance).exists()
        return specs["mariadb-server"].content_key, {
            # Whom it answers comes and goes with them, which replaces no pod.
            name: text
            for name, text in files.items()
            if name.startswith("lab/mariadb-") and not name.endswith("-networkpolicy.yml")
        }

    glance, cluster = "nodes/images/glance-server.yml", model / "classes/cluster/lab/openstack.yml"
    with_glance = mariadb()
    assert len(with_glance[1]) > 3
    text = cluster.read_text()
    assert text.count("- system.kubernetes.control.glance\n") == 1
    cluster.write_text(text.replace("- system.kubernetes.control.glance\n", ""))
    (model / glance).unlink()
    assert mariadb() == with_glance
