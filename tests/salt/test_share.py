"""The builders' job as plain data: dealt out, sent as arguments, read from returns."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.images import BuildError, image_specs
from pillarbox.images.builder import Built
from pillarbox.images.plan import Results
from pillarbox.model import Inventory
from pillarbox.salt import share

NAMES = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=12)
BUILT = Built("a", "r:1/t/a:1", "sha256:1", "key", 2.5, False, 10, 4)


@given(NAMES, NAMES.filter(bool))
def test_every_image_is_dealt_once_and_no_builder_gets_more_than_one_above_another(
    names: list[str], minions: list[str]
) -> None:
    dealt = share.deal(names, minions)
    assert sorted(name for part in dealt.values() for name in part) == sorted(names)
    assert set(dealt) <= set(minions) and all(dealt.values())
    sizes = [len(dealt.get(minion, ())) for minion in minions]
    assert max(sizes) - min(sizes) <= 1


def test_a_specification_survives_the_way_to_a_builder(repository: Path) -> None:
    for spec in image_specs(Inventory(repository)).values():
        assert share.from_data(json.loads(json.dumps(share.to_data(spec)))) == spec


def test_results_survive_the_way_back() -> None:
    error = BuildError("state x failed: no", image="b", stage="role", state="x", sls="b.server", hint="Correct it.")
    returned = json.loads(json.dumps(share.to_return(Results({"a": BUILT}, {"b": error}))))
    found = share.from_return("m1", ("a", "b", "c"), returned)
    assert found.built == {"a": BUILT}
    assert {name: str(each) for name, each in found.failed.items()} == {"b": str(error), "c": "m1 gave no result"}


def test_what_salt_says_instead_of_a_result_is_each_images_failure() -> None:
    said = "'pillarbox.build_images' is not available."
    found = share.from_return("m1", ("a", "b"), said)
    assert not found.built
    assert {name: str(each) for name, each in found.failed.items()} == {"a": said, "b": said}
