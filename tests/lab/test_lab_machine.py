"""What a lab changes of its machine, and how that is undone."""

from __future__ import annotations

from pillarbox.lab import firewall
from pillarbox.lab.capabilities import NAMES, of_mask, refused

SAVED = """\
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -i br-1 -m comment --comment "pillarbox lab a" -j ACCEPT
-A FORWARD -i br-2 -m comment --comment "pillarbox lab ab" -j ACCEPT
-A FORWARD -j DOCKER-USER
COMMIT
*nat
-A POSTROUTING -s 10.0.0.0/24 ! -o br-1 -m comment --comment "pillarbox lab a" -j MASQUERADE
COMMIT
""".splitlines()


def test_only_the_rules_of_this_lab_are_taken_out() -> None:
    comment = ["-m", "comment", "--comment", "pillarbox lab a"]
    assert firewall.removals(SAVED, "pillarbox lab a") == [
        ["-t", "filter", "-D", "FORWARD", "-i", "br-1", *comment, "-j", "ACCEPT"],
        ["-t", "nat", "-D", "POSTROUTING", "-s", "10.0.0.0/24", "!", "-o", "br-1", *comment, "-j", "MASQUERADE"],
    ]
    assert firewall.removals(SAVED, "pillarbox lab c") == []


def test_capabilities_are_what_the_machine_has_but_not_what_changes_it() -> None:
    everything = of_mask((1 << len(NAMES)) - 1)
    assert "SYS_ADMIN" in everything and "NET_ADMIN" in everything and "SYS_RESOURCE" in everything
    assert not {"SYS_MODULE", "SYS_TIME", "SYS_BOOT"} & set(everything)
    assert "SYS_RESOURCE" not in of_mask(0x1FFFEFFFFFF)
    assert of_mask(0) == ()


def test_refused_capability_is_read_from_the_engines_words() -> None:
    assert refused('invalid CapAdd: unknown capability: "CAP_BPF"') == "BPF"
    assert refused("no space left on device") is None
