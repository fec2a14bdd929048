"""The master's issuing of certificates and keys.

stable      same request, same material; a changed request, a replaced authority or little time left, new material
private     files 0600, directories 0700, one host's material never in another's pillar
rotated     a new key is known to hosts before it is used; nobody skips one
refused     names that leave the store, unknown usages and types, malformed names; nothing is issued then
whole       two processes at once get one authority; a call killed half-way leaves nothing half-issued
"""

from __future__ import annotations

import ipaddress
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from pillarbox import pki
from pillarbox.pki import authority
from pillarbox.pki.request import file_name


def request(**changes: Any) -> dict[str, Any]:
    return {
        "ca": "kubernetes",
        "common_name": "system:node:ctl01",
        "organization": "system:nodes",
        "alternative_names": ["DNS:ctl01", "IP:172.30.20.21"],
        "usage": ["client", "server"],
        **changes,
    }


def pillar(minion: str = "ctl01", key: dict[str, Any] | None = None, **certificates: Any) -> dict[str, Any]:
    return {
        "_reclass_": {"name": {"full": minion}},
        "pki": {"certificate": certificates or {"kubelet": request()}, "key": key or {}},
    }


def issued(data: dict[str, Any], directory: Path, name: str = "kubelet") -> dict[str, str]:
    return pki.issue(data, directory)["pki"]["certificate"][name]


def test_certificate_says_what_was_asked(tmp_path: Path) -> None:
    result = issued(pillar(), tmp_path)
    certificate = x509.load_pem_x509_certificate(result["certificate"].encode())
    authority = x509.load_pem_x509_certificate(result["ca_certificate"].encode())
    certificate.verify_directly_issued_by(authority)
    assert certificate.subject.rfc4514_string() == "CN=system:node:ctl01,O=system:nodes"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ctl01"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("172.30.20.21")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    key = serialization.load_pem_private_key(result["key"].encode(), password=None)
    assert key.public_key() == certificate.public_key()


def test_same_request_same_material(tmp_path: Path) -> None:
    assert pki.issue(pillar(), tmp_path) == pki.issue(pillar(), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"common_name": "system:node:other"},
        {"organization": ["system:masters"]},
        {"alternative_names": ["DNS:ctl01"]},
        {"usage": ["client"]},
        {"ca": "etcd"},
    ],
)
def test_changed_request_is_issued_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    before = issued(pillar(), tmp_path)
    after = issued(pillar(kubelet=request(**change)), tmp_path)
    assert before["certificate"] != after["certificate"]
    assert before["key"] != after["key"]


@pytest.mark.parametrize(("days", "renewed"), [(29, True), (31, False)])
def test_renewed_before_it_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, renewed: bool) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(authority, "_CERTIFICATE_DAYS", days)
        before = issued(pillar(), tmp_path)
    after = issued(pillar(), tmp_path)
    assert (before != after) is renewed
    left = x509.load_pem_x509_certificate(after["certificate"].encode()).not_valid_after_utc - datetime.now(UTC)
    assert left > timedelta(days=28)


def test_replaced_authority_replaces_its_certificates(tmp_path: Path) -> None:
    before = issued(pillar(), tmp_path)
    for file in (tmp_path / "authority").iterdir():
        file.unlink()
    after = issued(pillar(), tmp_path)
    assert before["ca_certificate"] != after["ca_certificate"]
    x509.load_pem_x509_certificate(after["certificate"].encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(after["ca_certificate"].encode())
    )


@pytest.mark.parametrize("part", ["crt", "key", "json"])
def test_half_issued_is_issued_again(tmp_path: Path, part: str) -> None:
    issued(pillar(), tmp_path)
    (tmp_path / "host" / "ctl01" / f"kubelet.{part}").unlink()
    result = issued(pillar(), tmp_path)
    key = serialization.load_pem_private_key(result["key"].encode(), password=None)
    assert key.public_key() == x509.load_pem_x509_certificate(result["certificate"].encode()).public_key()


def test_damaged_authority_is_an_error_and_is_kept(tmp_path: Path) -> None:
    issued(pillar(), tmp_path)
    file = tmp_path / "authority" / "kubernetes.key"
    file.write_text("damaged")
    with pytest.raises(pki.PkiError, match="kubernetes"):
        issued(pillar(), tmp_path)
    assert file.read_text() == "damaged"


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    root = tmp_path / "pki"
    pki.issue(pillar(key={"encryption": {"type": "aes"}}), root)
    for path in [root, *root.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_hosts_share_keys_but_not_certificates(tmp_path: Path) -> None:
    keys = {"service-account": {"type": "rsa"}, "encryption": {"type": "aes"}}
    one = pki.issue(pillar("kmst01", key=keys), tmp_path)["pki"]
    two = pki.issue(pillar("kmst02", key=keys), tmp_path)["pki"]
    assert one["key"] == two["key"]
    assert one["certificate"]["kubelet"]["key"] not in repr(two)
    assert one["certificate"]["kubelet"]["ca_certificate"] == two["certificate"]["kubelet"]["ca_certificate"]
    assert "BEGIN PUBLIC KEY" in one["key"]["service-account"]["public"]


def test_authority_key_is_never_handed_out(tmp_path: Path) -> None:
    result = repr(pki.issue(pillar(), tmp_path))
    assert (tmp_path / "authority" / "kubernetes.key").read_text() not in result.replace("\\n", "\n")


def test_ones_own_material_is_passed_on(tmp_path: Path) -> None:
    own = {"certificate": "C", "key": "K", "ca_certificate": "A"}
    result = pki.issue(pillar(kubelet=own, key={"k": {"key": "X"}}), tmp_path)
    assert result == {"pki": {"certificate": {"kubelet": own}, "key": {"k": {"key": "X"}}}}


def test_nothing_asked_touches_nothing(tmp_path: Path) -> None:
    assert pki.issue({"pki": {}}, tmp_path / "pki") == {"pki": {}}
    assert pki.issue({}, tmp_path / "pki") == {"pki": {}}
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (pillar("../ctl01"), "_reclass_:name:full"),
        (pillar(**{"../kubelet": request()}), "../kubelet"),
        (pillar(**{".lock": request()}), ".lock"),
        (pillar(kubelet=request(ca="a/b")), "pki:certificate:kubelet:ca"),
        (pillar(kubelet=request(ca=None)), "pki:certificate:kubelet:ca"),
        (pillar(kubelet=request(usage=["sign"])), "usage"),
        (pillar(kubelet=request(common_name="")), "common_name"),
        (pillar(kubelet=request(common_name="x" * 65)), "common_name"),
        (pillar(kubelet=request(alternative_names=["IP:ctl01"])), "alternative_names"),
        (pillar(kubelet=request(alternative_names=["ctl01"])), "alternative_names"),
        (pillar(kubelet=request(alternative_names=[7])), "alternative_names"),
        (pillar(kubelet="kubernetes"), "mapping"),
        (pillar(key={"a/b": {}}), "a/b"),
        (pillar(key={"a": {"type": "dsa"}}), "dsa"),
    ],
)
def test_wrong_request_is_refused_whole(tmp_path: Path, data: dict[str, Any], names: str) -> None:
    root = tmp_path / "pki"
    with pytest.raises(pki.PkiError) as caught:
        pki.issue(data, root)
    assert names in str(caught.value)
    assert not root.exists()


@given(st.text(max_size=40))
def test_no_name_leads_out_of_the_store(name: str) -> None:
    try:
        checked = file_name("name", name)
    except pki.PkiError:
        return
    root = Path("/store")
    assert (root / checked).resolve().parent == root
    assert not checked.startswith(".")


def _issue_authority(directory: str) -> str:
    return issued(pillar(), Path(directory))["certificate"]


def test_processes_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_issue_authority, [str(tmp_path)] * 6))) == 1


def test_an_authority_is_given_to_who_asks_and_its_key_never(tmp_path: Path) -> None:
    asking = {"_reclass_": {"name": {"full": "ctl01"}}, "pki": {"authority": {"kubernetes": None}}}
    given = pki.issue(asking, tmp_path)["pki"]
    assert list(given) == ["authority"] and list(given["authority"]["kubernetes"]) == ["certificate"]
    assert given["authority"]["kubernetes"]["certificate"] == issued(pillar(), tmp_path)["ca_certificate"]
    own = {**asking, "pki": {"authority": {"kubernetes": {"certificate": "of one's own"}}}}
    assert pki.issue(own, tmp_path)["pki"]["authority"]["kubernetes"] == {"certificate": "of one's own"}
    assert not (tmp_path / "host").exists() or not list((tmp_path / "host").glob("ctl01/kubernetes*"))


@pytest.mark.parametrize(("name", "data"), [("../x", None), ("x", "y"), ("", {}), (1, {})])
def test_an_authority_that_is_none_is_refused(tmp_path: Path, name: Any, data: Any) -> None:
    asking = {"_reclass_": {"name": {"full": "ctl01"}}, "pki": {"authority": {name: data}}}
    with pytest.raises(pki.PkiError, match="pki:authority"):
        pki.issue(asking, tmp_path)
    assert not list(tmp_path.rglob("*.key"))


def test_a_certificate_that_no_host_came_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for days, host in ((19, "near"), (21, "far"), (90, "new"), (-1, "late")):
        with monkeypatch.context() as patch:
            patch.setattr(authority, "_CERTIFICATE_DAYS", days)
            patch.setattr(authority, "_SKEW", timedelta(days=2))
            issued(pillar(host), tmp_path)
    found = list(pki.near_end(tmp_path))
    assert [(each.host, each.name, each.ended) for each in found] == [
        ("late", "kubelet", True),
        ("near", "kubelet", False),
    ]
    assert found[1].as_dict()["state"] == "ending"
    issued(pillar("near"), tmp_path)
    assert [each.host for each in pki.near_end(tmp_path)] == ["late"]
    assert list(pki.near_end(tmp_path / "nothing")) == []


def test_a_certificate_that_is_asked_for_no_more_goes(tmp_path: Path) -> None:
    pki.issue(pillar(one=request(), two=request()), tmp_path)
    pki.issue(pillar(two=request()), tmp_path)
    assert sorted(file.name for file in (tmp_path / "host/ctl01").iterdir()) == ["two.crt", "two.json", "two.key"]


def test_a_host_that_is_forgotten_has_nothing_left(tmp_path: Path) -> None:
    before = issued(pillar("gone"), tmp_path), issued(pillar("stays"), tmp_path)
    pki.forget(tmp_path, "gone")
    pki.forget(tmp_path, "never-there")
    assert [folder.name for folder in (tmp_path / "host").iterdir()] == ["stays"]
    assert issued(pillar("stays"), tmp_path) == before[1]
    assert issued(pillar("gone"), tmp_path)["key"] != before[0]["key"]
    with pytest.raises(pki.PkiError):
        pki.forget(tmp_path, "../host")


def test_a_certificate_ends_within_a_season(tmp_path: Path) -> None:
    """Nobody can take one back from a host that is gone."""
    found = x509.load_pem_x509_certificate(issued(pillar(), tmp_path)["certificate"].encode())
    assert found.not_valid_after_utc - datetime.now(UTC) < timedelta(days=91)


def rotated(serial: Any) -> dict[str, Any]:
    return pillar(key={"encryption": {"type": "aes", "serial": serial}})


def test_a_new_key_is_known_before_it_writes_and_the_old_ones_are_kept(tmp_path: Path) -> None:
    found = [pki.issue(rotated(serial), tmp_path)["pki"]["key"]["encryption"] for serial in (1, 2, 3)]
    assert [sorted(each["keys"]) for each in found] == [["1", "2"], ["1", "2", "3"], ["1", "2", "3", "4"]]
    assert all(each["key"] == each["keys"][str(each["serial"])] for each in found)
    assert len(set(found[-1]["keys"].values())) == 4
    assert all(found[-1]["keys"].items() >= each["keys"].items() for each in found)
    assert pki.issue(rotated(2), tmp_path)["pki"]["key"]["encryption"]["key"] == found[1]["key"]


def test_nobody_skips_a_serial(tmp_path: Path) -> None:
    """Hosts that were not prepared for it could open nothing that is written with it."""
    before = pki.issue(rotated(1), tmp_path)
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(pki.PkiError, match=r"pki:key:encryption:serial: found 3, and hosts know \[1, 2\]"):
        pki.issue(rotated(3), tmp_path)
    assert sorted(tmp_path.rglob("*")) == files and pki.issue(rotated(1), tmp_path) == before
    # A master that has nothing begins where the model is.
    pki.issue(rotated(3), tmp_path / "new")


def test_mistakes_are_what_would_be_refused_with_its_path() -> None:
    good = pillar(key={"k": {"type": "aes", "serial": 2}}, kubelet=request())
    assert list(pki.mistakes(good)) == []
    assert list(pki.mistakes({"pki": []})) == []
    assert list(pki.mistakes({})) == []
    wrong = pillar(key={"k": {"type": "aes", "serial": 0}}, kubelet=request(common_name="x" * 65))
    assert [path for path, _ in pki.mistakes(wrong)] == [("pki", "certificate", "kubelet"), ("pki", "key", "k")]
    assert "k:serial: expected a number from 1 on, found 0" in list(pki.mistakes(wrong))[1][1]
    for strange in ("x", {"certificate": "x"}, {"key": ["x"]}):
        assert all(text.endswith(("found str", "found list")) for _, text in pki.mistakes({"pki": strange}))


@pytest.mark.parametrize("serial", [0, -1, "2", True, 1.5, None])
def test_a_serial_that_is_none_is_refused(tmp_path: Path, serial: Any) -> None:
    with pytest.raises(pki.PkiError, match="expected a number from 1 on"):
        pki.issue(rotated(serial), tmp_path)
    with pytest.raises(pki.PkiError, match="a key of type rsa has none"):
        pki.issue(pillar(key={"k": {"type": "rsa", "serial": 2}}), tmp_path)
    assert not list(tmp_path.iterdir())
