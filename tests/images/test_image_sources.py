"""Which suites packages come from."""

from __future__ import annotations

import pytest

from pillarbox.images import gateway
from pillarbox.images.sources import sources
from pillarbox.system import apt

MIRROR = "http://mirror.example/debian"


def test_a_mirror_of_the_model_is_the_only_one() -> None:
    (found,) = sources({"suite": "trixie", "mirror": MIRROR})
    assert (found.uri, found.suites) == (MIRROR, ("trixie",))


def test_security_updates_come_from_where_the_model_says() -> None:
    found = sources({"suite": "trixie", "mirror": MIRROR, "security_mirror": f"{MIRROR}-security"})
    assert [each.suites for each in found] == [("trixie",), ("trixie-security",)]


def test_a_snapshot_may_be_as_old_as_it_is() -> None:
    found = sources({"suite": "trixie", "mirror": MIRROR, "security_mirror": f"{MIRROR}-security", "state": 20240101})
    assert [each.lines() for each in found] == [
        f"deb [check-valid-until=no] {MIRROR} trixie main\n",
        f"deb [check-valid-until=no] {MIRROR}-security trixie-security main\n",
    ]
    assert all("Check-Valid-Until: no" in each.stanza() for each in found)
    (plain,) = sources({"suite": "trixie", "mirror": MIRROR})
    assert "valid" not in plain.lines() + plain.stanza().lower()


def test_a_suite_without_updates_comes_alone() -> None:
    """From where this machine gets its own release, which may have updates beside it."""
    try:
        own = apt.sources("sid")
    except apt.AptError as error:
        pytest.skip(f"needs a machine with Debian's mirrors: {error.message}")
    (found,) = sources({"suite": "sid", "updates": False})
    assert found.suites == ("sid",)
    assert found.uri in {each.uri for each in own}


def test_a_snapshot_is_one_inside_the_container_too() -> None:
    found = sources({"suite": "trixie", "mirror": "https://mirror.example/debian", "state": 20240101})
    (shown,) = gateway.PackageSources(found, {}, by_model=True).shown()
    assert shown.lines() == f"deb [check-valid-until=no] {MIRROR} trixie main\n"
