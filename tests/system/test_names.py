"""What was probably meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.system import names

TEXT = st.text("abcdefgh-_", min_size=1, max_size=12)


def test_a_slip_of_the_finger_is_understood() -> None:
    known = ["keystone-api", "glance-api", "mariadb"]
    assert names.nearest("keystone-aip", known) == "keystone-api"
    assert names.did_you_mean("maria", known) == "Did you mean mariadb?"
    assert names.did_you_mean("maria", known, prefix="service/") == "Did you mean service/mariadb?"


def test_nothing_is_guessed_where_nothing_is_like_it() -> None:
    assert names.nearest("zzz", ["keystone", "glance"]) is None
    assert names.did_you_mean("zzz", []) is None
    assert names.nearest("keystone-apy", ["keystone-api"]) == "keystone-api"
    assert names.nearest("keystone-apy", ["keystone-api"], cutoff=0.95) is None


def test_names_that_only_begin_or_end_alike_are_not_meant() -> None:
    known = ["keystone_node_port", "glance_node_port", "keystone_public_url"]
    assert names.nearest("keystone_admin_port", known) is None
    assert names.nearest("placement_node_port", known) is None
    assert names.nearest("keystone_node_prot", known) == "keystone_node_port"
    assert names.nearest("keystone_nodeport", known) == "keystone_node_port"
    assert names.nearest("keystone_port", known) == "keystone_node_port"
    assert names.nearest("keystone_pubilc_url", known) == "keystone_public_url"


def test_keys_that_are_no_strings_are_passed_over() -> None:
    assert names.nearest("80", [80, None, 8080, "800"]) == "800"


@given(TEXT, st.lists(TEXT))
def test_the_answer_is_a_known_name_and_does_not_depend_on_their_order(name: str, known: list[str]) -> None:
    found = names.nearest(name, known)
    assert found is None or found in known
    assert names.nearest(name, reversed(known)) == found
    if name in known:
        assert found == name
