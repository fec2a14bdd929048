"""What a push may write to the server's disk, and what it may not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pipeline.support import Deployment, git

from pillarbox.pipeline import publish
from pillarbox.pipeline.git import Repository
from pillarbox.revision import RevisionError
from pillarbox.system.errors import Interrupted


def blob(repository: Path, content: bytes) -> str:
    done = subprocess.run(["git", "hash-object", "-w", "--stdin"], cwd=repository, input=content, capture_output=True)
    return done.stdout.decode().strip()


def commit(repository: Path, *entries: tuple[str, str, str]) -> str:
    """A commit of a tree made by hand, ``(mode, content or object, path)``, as no work tree would have it."""
    lines = []
    for mode, content, name in entries:
        kind = {"040000": "tree", "160000": "commit"}.get(mode, "blob")
        lines.append(f"{mode} {kind} {content if kind != 'blob' else blob(repository, content.encode())}\t{name}\n")
    tree = subprocess.run(
        ["git", "mktree", "--missing"], cwd=repository, input="".join(lines), capture_output=True, text=True, check=True
    ).stdout.strip()
    return git("commit-tree", "-m", "x", tree, cwd=repository).stdout.strip()


def subtree(repository: Path, *entries: tuple[str, str, str]) -> str:
    return git("rev-parse", f"{commit(repository, *entries)}^{{tree}}", cwd=repository).stdout.strip()


def test_files_modes_and_inner_links_survive(deployment: Deployment, tmp_path: Path) -> None:
    repository = deployment.places.repository
    inner = subtree(repository, ("120000", "../run", "link"), ("100644", "b", "b"))
    revision = commit(repository, ("100755", "a", "run"), ("040000", inner, "d"), ("120000", "d", "dir"))
    Repository(repository).extract(revision, tmp_path / "tree")
    assert os.access(tmp_path / "tree" / "run", os.X_OK)
    assert (tmp_path / "tree" / "d" / "link").read_text() == "a"
    assert (tmp_path / "tree" / "dir" / "b").read_text() == "b"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "..", "d/../../outside"])
def test_links_that_lead_out_are_refused(deployment: Deployment, tmp_path: Path, target: str) -> None:
    revision = commit(deployment.places.repository, ("120000", target, "link"), ("100644", "x", "a"))
    with pytest.raises(RevisionError, match="leads out of the model"):
        Repository(deployment.places.repository).extract(revision, tmp_path / "tree")


def test_a_link_that_leads_out_through_another_link_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    repository = deployment.places.repository
    deep = subtree(repository, ("120000", "..", "up"))
    revision = commit(repository, ("040000", deep, "d"), ("120000", "d/up/../outside", "link"))
    with pytest.raises(RevisionError, match="leads out of the model"):
        Repository(repository).extract(revision, tmp_path / "tree")


def test_nothing_is_written_through_a_link(deployment: Deployment, tmp_path: Path) -> None:
    repository = deployment.places.repository
    (tmp_path / "outside").mkdir()
    inner = subtree(repository, ("100644", "evil", "f"))
    # Two entries of one name, which git itself never writes.
    name = b"d\0"
    raw = b"120000 " + name + bytes.fromhex(blob(repository, str(tmp_path / "outside").encode()))
    raw += b"40000 " + name + bytes.fromhex(inner)
    tree = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=repository,
        input=raw,
        capture_output=True,
        check=True,
    ).stdout.decode()
    revision = git("commit-tree", "-m", "x", tree.strip(), cwd=repository).stdout.strip()
    with pytest.raises(RevisionError):
        Repository(repository).extract(revision, tmp_path / "tree")
    assert not list((tmp_path / "outside").iterdir())


def test_submodules_and_oversized_files_are_refused(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = deployment.places.repository
    with pytest.raises(RevisionError, match="submodules"):
        Repository(repository).extract(commit(repository, ("160000", "1" * 40, "sub")), tmp_path / "a")
    monkeypatch.setattr("pillarbox.revision.contents.MAX_FILE", 10)
    with pytest.raises(RevisionError, match="big") as error:
        Repository(repository).extract(commit(repository, ("100644", "x" * 11, "big")), tmp_path / "b")
    assert error.value.file == "big"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"a\x1b[1mb", "a\u202eb".encode()])
def test_names_that_cannot_be_served_or_shown_are_refused(deployment: Deployment, name: bytes) -> None:
    work = deployment.root / "odd"
    git("init", "-q", "-b", "main", str(work), cwd=deployment.root)
    Path(os.fsdecode(os.fsencode(work) + b"/" + name)).write_text("x")
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "x", cwd=work)
    with pytest.raises(RevisionError, match="printable") as error:
        Repository(work).extract("HEAD", deployment.root / "out")
    assert error.value.file and error.value.file.isascii()


@pytest.mark.parametrize(
    "entry",
    [
        ("100644", "x", "n" * 256),
        ("100644", "x", "é" * 128),
        ("120000", "n" * 256, "link"),
        ("120000", "d/../" * 200 + "a", "link"),
    ],
)
def test_what_no_disk_has_room_for_is_refused(deployment: Deployment, entry: tuple[str, str, str]) -> None:
    """Git takes such names; the build, which writes them, could only fail."""
    repository = deployment.places.repository
    with pytest.raises(RevisionError):
        Repository(repository).entries(commit(repository, entry, ("100644", "x", "a")))


def test_a_path_that_is_too_long_is_refused(deployment: Deployment) -> None:
    repository = deployment.places.repository
    inner = subtree(repository, ("100644", "x", "f"))
    for _ in range(5):
        inner = subtree(repository, ("040000", inner, "d" * 250))
    with pytest.raises(RevisionError, match="paths of at most"):
        Repository(repository).entries(commit(repository, ("040000", inner, "d")))


def test_a_submodule_of_a_name_that_cannot_be_shown_is_refused(deployment: Deployment) -> None:
    repository = deployment.places.repository
    revision = commit(repository, ("160000", "1" * 40, "a\x1b[2Jb"))
    with pytest.raises(RevisionError, match="printable") as error:
        Repository(repository).entries(revision)
    assert error.value.file and error.value.file.isprintable()


def test_trees_within_trees_take_no_memory(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few objects can name any number of files: reading ends at the first that is too many."""
    repository = deployment.places.repository
    tree = subtree(repository, *(("100644", "x", f"f{number}") for number in range(10)))
    for _ in range(5):
        tree = subtree(repository, *(("040000", tree, f"d{number}") for number in range(10)))
    revision = commit(repository, ("040000", tree, "nodes"))
    monkeypatch.setattr("pillarbox.revision.contents.MAX_FILES", 1000)
    tracemalloc.start()
    with pytest.raises(RevisionError, match="more than 1000 files"):
        Repository(repository).entries(revision)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * 2**20


def test_a_commit_cannot_be_replaced_by_another(deployment: Deployment, tmp_path: Path) -> None:
    """Anybody who may push may push to refs/replace, after the commit was checked."""
    repository = deployment.places.repository
    checked, other = (commit(repository, ("100644", content, "f")) for content in ("checked", "other"))
    git("replace", checked, other, cwd=repository)
    Repository(repository).extract(checked, tmp_path / "tree")
    assert (tmp_path / "tree" / "f").read_text() == "checked"


NAMES = st.text("abc .-_\"'\\é", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=5))
def test_any_file_comes_out_as_it_went_in(deployment: Deployment, files: dict[str, bytes]) -> None:
    work = deployment.root / "any"
    subprocess.run(["rm", "-rf", str(work), str(deployment.root / "out")], check=True)
    git("init", "-q", "-b", "main", str(work), cwd=deployment.root)
    for name, content in files.items():
        (work / name).write_bytes(content)
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "x", cwd=work)
    Repository(work).extract("HEAD", deployment.root / "out")
    assert {path.name: path.read_bytes() for path in (deployment.root / "out").iterdir()} == files


@pytest.mark.parametrize("command", ["ls-tree", "cat-file"])
@pytest.mark.parametrize("read", [0, 1])
def test_a_git_that_a_signal_ended_says_nothing_about_the_revision(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, read: int
) -> None:
    """A master that is stopped takes its children with it; the revision is then built again, not refused."""
    revision = commit(deployment.places.repository, *(("100644", "x" * 9999, f"f{number}") for number in range(99)))
    real = shutil.which("git")
    (tmp_path / "git").write_text(
        f'#!/bin/sh\ncase "$*" in\n*{command}*) head -n {read} | {real} "$@" | head -c 5000; kill -TERM $$ ;;\n'
        f'*) exec {real} "$@" ;;\nesac\n'
    )
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Interrupted, match="git was ended by SIGTERM"):
        publish.prepare(deployment.places, revision)
    assert not (deployment.places.published / revision).exists()


def test_publishing_keeps_a_few_revisions_and_never_half_of_one(deployment: Deployment, model: dict[str, str]) -> None:
    places = deployment.places
    revisions = []
    for number in range(publish.KEEP + 3):
        revisions.append(deployment.commit({**model, "number": str(number)}))
        deployment.push()
        publish.publish(places, revisions[-1])
        assert publish.current(places) == revisions[-1]
        assert (places.current / "number").read_text() == str(number)
    kept = {path.name for path in places.published.iterdir()} - {"current"}
    assert len(kept) == publish.KEEP and revisions[-1] in kept
    with pytest.raises(RevisionError):
        publish.publish(places, "0" * 39 + "1")
    assert publish.current(places) == revisions[-1]
    publish.publish(places, revisions[0])
    assert (places.current / "number").read_text() == "0"


def test_trees_that_were_only_prepared_go_too(deployment: Deployment, model: dict[str, str]) -> None:
    """A build makes one and serves nothing: a year of pushes leaves the one that is served, and the last few."""
    places, revisions = deployment.places, []
    for number in range(publish.KEEP + 3):
        revisions.append(deployment.commit({**model, "number": str(number)}))
        deployment.push()
        publish.prepare(places, revisions[-1])
        if number == 0:
            publish.publish(places, revisions[0])
    kept = {path.name for path in places.published.iterdir()} - {"current"}
    assert kept == {revisions[0], *revisions[1 - publish.KEEP :]}
    assert publish.current(places) == revisions[0]
