"""What `images/states/install.jinja` makes of a formula's packages.sls, on the real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import docker
import pytest

from pillarbox.images import BuildError, sources, updates
from pillarbox.images.builder import build
from pillarbox.images.errors import SourceUnavailable
from pillarbox.images.store import Store
from pillarbox.system.engine import Engine

pytestmark = pytest.mark.engine

# python3-netaddr depends on ieee-data, and that on wget or curl; python3-prettytable imports what it depends on.
PACKAGES = """\
{{%- from "install.jinja" import install with context %}}
{{{{ install(account='toy', uid=950, packages={packages}, without={without}, loads={loads}) }}}}
"""


@pytest.fixture
def toy(make_toy: Callable[..., Any], registry: str) -> Any:
    return make_toy(registry)


def packages(toy: Any, packages: list[str], without: list[str], loads: dict[str, list[str]]) -> None:
    text = PACKAGES.format(packages=packages, without=without, loads=loads)
    toy.write("formulas/toy/packages.sls", f"# {toy.path}\n{text}")


def inside(reference: str, command: str) -> str:
    container = docker.from_env().containers.create(reference, entrypoint=["/bin/sh", "-c", command])
    try:
        container.start()
        # Its log is whole once it has ended; followed from the start, it once came back empty.
        container.wait()
        return container.logs(stderr=False).decode()
    finally:
        container.remove(force=True)


def test_what_is_left_out_is_not_there_and_dpkg_knows(toy: Any, engine: Engine, store: Store) -> None:
    toy.image["packages"]["without"] = ["ieee-data", "no-such-package"]
    packages(toy, ["python3-netaddr"], ["/usr/bin/netaddr"], {"show": ["/usr/bin/python3", "netaddr.ip"]})
    built = build(toy.spec(), toy.path, engine=engine, store=store)
    said = inside(built.reference, "dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n'; dpkg --audit; dpkg -C")
    states = dict(line.split() for line in said.splitlines())
    assert states["python3-netaddr"] == states["pillarbox-left-out"] == "ii"
    assert not states.keys() & {"ieee-data", "wget", "curl"}
    assert set(states.values()) == {"ii"}
    # What depends on it goes on being installable: apt takes the empty package for the one it stands for.
    assert "ieee-data (= " in inside(built.reference, "dpkg-query -W -f '${Provides}' pillarbox-left-out")
    assert inside(built.reference, "id -u toy; find /usr/bin -name netaddr") == "950\n"
    # The packages' own compiler is back.
    assert inside(built.reference, "dpkg-divert --list /usr/bin/py3compile; head -n 1 /usr/bin/py3compile").startswith(
        "#!"
    )
    compiled = inside(built.reference, "find /usr/lib/python3* -name '*.pyc'")
    assert "/netaddr/ip/__pycache__/" in compiled
    assert "/turtle." not in compiled


def test_with_a_state_of_the_packages_nothing_in_the_image_is_older(toy: Any, engine: Engine, store: Store) -> None:
    """Not in the base either, which is as debootstrap made it: of the release, without its updates."""
    toy.image["packages"]["state"] = "2026-11-25"
    packages(toy, ["hello"], [], {"show": ["/usr/bin/hello"]})
    spec = toy.spec()
    build(spec, toy.path, engine=engine, store=store)
    (found,) = updates.look([spec])
    assert found.built and found.packages == ()


def test_what_processes_lack_fails_the_build(toy: Any, engine: Engine, store: Store) -> None:
    without = ["python3-wcwidth", "/usr/lib/*/libyaml-0.so*"]
    packages(toy, ["python3-prettytable", "python3-yaml"], without, {"show": ["/usr/bin/none", "prettytable"]})
    with pytest.raises(BuildError) as raised:
        build(toy.spec(), toy.path, engine=engine, store=store)
    error = str(raised.value)
    assert "process show: /usr/bin/none: No such file or directory" in error
    assert "process show: prettytable: ModuleNotFoundError: No module named 'wcwidth'" in error
    assert "libyaml-0.so.2 is missing" in error


def test_a_process_of_which_nothing_is_checked_is_refused(toy: Any, engine: Engine, store: Store) -> None:
    packages(toy, ["hello"], [], {"other": ["/usr/bin/hello"]})
    with pytest.raises(BuildError, match="process show is not among the `loads` of packages"):
        build(toy.spec(), toy.path, engine=engine, store=store)


def test_a_package_source_that_is_away_is_no_fault_of_the_image(
    toy: Any, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long apt itself tries again is apt's business.
    monkeypatch.setattr(sources, "SETTINGS", sources.SETTINGS.replace('Retries "6"', 'Retries "0"'))
    toy.image["packages"]["mirror"] = "http://no-such-mirror.invalid/debian"
    packages(toy, ["hello"], [], {"show": ["/usr/bin/hello"]})
    with pytest.raises(SourceUnavailable, match=r"502 +Bad Gateway"):
        build(toy.spec(), toy.path, engine=engine, store=store)
