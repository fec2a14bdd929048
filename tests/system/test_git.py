"""Running git: what it reads, what ends it, what a hostile repository or environment cannot make it do."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillarbox.model.read.gittree import GitTree
from pillarbox.pipeline.git import Repository
from pillarbox.system import git
from pillarbox.system.command import CommandError
from pillarbox.system.errors import Interrupted

IDENTITY = ("Ada", "ada@example.com")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work tree with one commit of one file."""
    directory = tmp_path / "work"
    directory.mkdir()
    git.run(directory, "init", "--quiet", "--initial-branch=main")
    (directory / "file").write_text("content\n")
    git.run(directory, "add", "--all")
    git.run(directory, "commit", "--quiet", "--message", "first", identity=IDENTITY)
    return directory


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in front of PATH, for another program called git."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def script(directory: Path, text: str) -> None:
    (directory / "git").write_text(f"#!/bin/sh\n{text}\n")
    (directory / "git").chmod(0o755)


def test_names(work: Path) -> None:
    name = git.Git(work).name("main")
    assert name and git.is_name(name) and name == git.head(work)
    assert git.Git(work).name("main", "tree") != name
    assert git.Git(work).name("--all") is None
    assert git.Git(work).name("no-such") is None
    assert not git.is_name("main") and not git.is_name(name[:12]) and not git.is_name(f"{name}\n")


def test_an_error_is_in_gits_own_words(work: Path, tmp_path: Path) -> None:
    with pytest.raises(git.GitError, match=r"git ls-tree: .*no-such"):
        git.Git(work).read("ls-tree", "no-such")
    with pytest.raises(git.GitError, match="not a git repository"):
        git.Git(tmp_path).read("rev-parse", "HEAD")
    with pytest.raises(CommandError, match="did not match any file"):
        git.run(work, "add", "no-such")


def test_without_git_it_says_so(work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(git.GitError, match="cannot run git"):
        git.Git(work).name("main")
    with pytest.raises(git.GitError, match="cannot run git"), git.Git(work).objects() as objects:
        objects.read("0" * 40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=6))
def test_any_content_is_read_as_it_is(work: Path, contents: list[bytes]) -> None:
    names = [
        subprocess.run(["git", "hash-object", "-w", "--stdin"], cwd=work, input=each, capture_output=True, check=True)
        .stdout.decode()
        .strip()
        for each in contents
    ]
    with git.Git(work).objects() as objects:
        assert [objects.read(name) for name in names] == contents


def test_after_a_missing_or_large_object_the_next_is_read(work: Path) -> None:
    blob = git.Git(work).read("rev-parse", "main:file")
    assert blob
    with git.Git(work).objects() as objects:
        with pytest.raises(git.NoObject, match="0000"):
            objects.read("0" * 40)
        with pytest.raises(git.LargeObject, match="at most 3 bytes, found 8") as raised:
            objects.read(blob, most=3)
        assert raised.value.size == 8
        assert objects.read(blob, most=8) == b"content\n"
        objects.close()
        assert objects.read(blob) == b"content\n"


def test_threads_share_a_reader(work: Path) -> None:
    blob, tree = git.Git(work).read("rev-parse", "main:file"), git.Git(work).name("main", "tree")
    assert blob and tree
    wrong: list[str] = []
    with git.Git(work).objects() as objects:
        expected = {name: objects.read(name) for name in (blob, tree)}

        def read() -> None:
            for _ in range(50):
                wrong.extend(name for name in (blob, tree) if objects.read(name) != expected[name])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not wrong


@pytest.mark.parametrize("kill", ["TERM", "KILL", "INT"])
def test_a_git_that_a_signal_ended_says_nothing_about_the_repository(work: Path, stand_in: Path, kill: str) -> None:
    script(stand_in, f"kill -{kill} $$")
    with pytest.raises(Interrupted, match=f"git was ended by SIG{kill}"):
        git.Git(work).read("log")
    with pytest.raises(Interrupted, match=f"git was ended by SIG{kill}"), git.Git(work).objects() as objects:
        objects.read("0" * 40)


def test_a_reader_whose_process_was_killed_starts_another(work: Path) -> None:
    blob = git.Git(work).read("rev-parse", "main:file")
    assert blob
    with git.Git(work).objects() as objects:
        objects.read(blob)
        process = objects._process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(Interrupted, match="SIGKILL"):
            objects.read(blob)
        assert objects.read(blob) == b"content\n"


def test_a_git_that_breaks_off_in_the_middle_of_an_object_is_noticed(work: Path, stand_in: Path) -> None:
    script(stand_in, "read name; echo $name blob 100; echo short")
    with pytest.raises(git.NoObject, match="git ended while it read"), git.Git(work).objects() as objects:
        objects.read("0" * 40)


def test_a_configuration_in_the_environment_runs_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"touch {trap}")
    subprocess.run(["git", "status"], cwd=work, capture_output=True, check=True)
    assert trap.exists(), "the trap does not work"
    trap.unlink()
    git.Git(work).run("status")
    git.run(work, "status")
    assert not trap.exists()


HOSTILE = """[core]
    bare = true
    repositoryformatversion = 1
    fsmonitor = {trap}
    hooksPath = {hooks}
    pager = {trap}
    sshCommand = {trap}
    gitProxy = {trap}
    askPass = {trap}
    editor = {trap}
    alternateRefsCommand = {trap}
    attributesFile = {hooks}/attributes
[extensions]
    partialClone = origin
[remote "origin"]
    url = {url}
    promisor = true
    partialCloneFilter = blob:none
    uploadpack = {trap}
[protocol "ext"]
    allow = always
[credential]
    helper = !{trap}
[gpg]
    program = {trap}
[gpg "ssh"]
    program = {trap}
[log]
    showSignature = true
[diff]
    external = {trap}
[diff "trap"]
    command = {trap}
    textconv = {trap}
[filter "trap"]
    clean = {trap}
    smudge = {trap}
    process = {trap}
[alias]
    log = !{trap}
    rev-list = !{trap}
    cat-file = !{trap}
[pager]
    log = {trap}
    rev-list = {trap}
    diff-tree = {trap}
"""


@pytest.mark.parametrize("url", ["/nowhere", "ext::{trap}", "ssh://nowhere/x", "git://localhost/x"])
def test_a_repositorys_own_configuration_runs_nothing(work: Path, tmp_path: Path, url: str) -> None:
    """Whoever gets to be the git user, and so writes there, is not root by that."""
    bare, trap, hooks, caught = (tmp_path / name for name in ("bare.git", "trap", "hooks", "caught"))
    git.run(tmp_path, "clone", "--quiet", "--bare", work, bare)
    trap.write_text(f"#!/bin/sh\ntouch {caught}\nexit 1\n")
    trap.chmod(0o755)
    hooks.mkdir()
    (hooks / "attributes").write_text("* diff=trap filter=trap\n")
    for name in ("reference-transaction", "post-index-change", "fsmonitor-watchman"):
        (hooks / name).symlink_to(trap)
    raw = git.Git(bare).read("cat-file", "commit", "main")
    head, _, message = raw.partition("\n\n")
    signed = f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n{message}"
    write = ["git", "-C", bare, "hash-object", "-t", "commit", "-w", "--stdin"]
    commit = subprocess.run(write, input=signed, capture_output=True, text=True, check=True).stdout.strip()
    (bare / "config").write_text(HOSTILE.format(trap=trap, hooks=hooks, url=url.format(trap=trap)))
    if os.geteuid() == 0:
        for path in (bare, *bare.rglob("*")):
            os.chown(path, 12345, 12345)
    trusting = ["git", "-c", "safe.directory=*", "-C", bare]
    subprocess.run([*trusting, "log", "-1", commit], capture_output=True)
    assert caught.exists(), "the trap does not work"
    caught.unlink()

    reader, repository = git.Git(bare), Repository(bare)
    assert repository.subject(commit) == "first" and repository.committer(commit).startswith("Ada <")
    assert repository.head("refs/heads/main") and repository.resolve("main")
    assert not repository.is_ancestor(commit, "main")
    assert repository.changed("main", commit) == ()
    repository.extract(commit, tmp_path / "tree")
    assert (tmp_path / "tree" / "file").read_text() == "content\n"
    with GitTree(bare, commit) as tree:
        assert tree.read("file") == b"content\n"
    assert reader.read("log", "-1", "--format=%s", commit) == "first"
    with pytest.raises(git.NoObject), reader.objects() as objects:
        objects.read("1" * 40)
    assert reader.name("1" * 40) is None
    assert not caught.exists()


def test_only_the_repository_that_is_meant_is_trusted(work: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a repository to somebody else")
    for path in (work, *work.rglob("*")):
        os.chown(path, 12345, 12345)
    (tmp_path / "link").symlink_to(work)
    (work / "folder").mkdir()
    for path in (work, work / ".git", work / "folder", tmp_path / "link"):
        assert git.Git(path).name("HEAD"), path
    command = git.command(tmp_path / "another")
    assert [part for part in command if part.startswith("safe.directory=")] == [f"safe.directory={tmp_path}/another"]
    assert subprocess.run([*command[:-2], "-C", work, "rev-parse", "HEAD"], capture_output=True).returncode != 0


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_COMMON_DIR"])
def test_the_environment_leads_to_no_other_repository(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """git's own hooks, and what `git rebase --exec` runs, have these of the repository that they are about."""
    monkeypatch.setenv(variable, str(tmp_path / "other" / ".git"))
    assert git.Git(work).read("log", "--format=%s") == "first"


def test_a_bare_repository_is_read_however_careful_the_user_is(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.run(tmp_path, "clone", "--quiet", "--bare", work, "bare.git")
    (tmp_path / ".gitconfig").write_text("[safe]\n\tbareRepository = explicit\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert git.Git(tmp_path / "bare.git").read("log", "--format=%s") == "first"


def test_the_users_own_configuration_has_no_say_in_our_work_trees(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n[user]\n\tname = Somebody\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (work / "second").touch()
    git.run(work, "add", "--all")
    git.run(work, "commit", "--quiet", "--message", "second", identity=IDENTITY)
    assert git.Git(work).read("log", "-1", "--format=%an <%ae> %cn") == "Ada <ada@example.com> Ada"


def test_what_is_checked_out(work: Path, tmp_path: Path) -> None:
    name = git.head(work)
    assert name and git.state(work) == name
    (work / "new").touch()
    assert git.state(work) == name
    (work / "folder").mkdir()
    (work / "file").write_text("changed\n")
    assert git.state(work / "folder") == f"{name}-modified"
    (tmp_path / "none").mkdir()
    assert git.state(tmp_path / "none") == "" and git.head(tmp_path / "none") is None
    assert git.state(tmp_path / "missing") == ""
    git.run(tmp_path / "none", "init", "--quiet")
    assert git.state(tmp_path / "none") == "" and git.head(tmp_path / "none") is None


def test_what_git_knows_or_would_add(work: Path, tmp_path: Path) -> None:
    (work / ".gitignore").write_text("*.pyc\n")
    (work / "new").touch()
    (work / "ignored.pyc").touch()
    assert [path.name for path in git.listed(work, ".")] == [".gitignore", "file", "new"]
    (work / "file").unlink()
    assert [path.name for path in git.listed(work, "new", "file")] == ["new"]
    (tmp_path / "none").mkdir()
    assert git.listed(tmp_path / "none", ".") == []


@pytest.mark.parametrize("known", [True, False])
def test_a_clone_to_work_in(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    if known:
        (home / ".gitconfig").write_text("[user]\n\tname = Grace\n\temail = grace@example.com\n")
    config = tmp_path / "with space" / "config"
    git.clone(str(work), tmp_path / "clone", ssh_config=config, identity=IDENTITY)
    assert (tmp_path / "clone" / "file").read_text() == "content\n"
    got = tmp_path / "clone"
    assert git.run(got, "config", "core.sshCommand").strip() == f"ssh -F '{config}'"
    assert git.Git(got).read("config", "user.email") == ("grace@example.com" if known else "ada@example.com")
    with pytest.raises(git.GitError, match="clone"):
        git.clone(str(tmp_path / "missing"), tmp_path / "other", ssh_config=config, identity=IDENTITY)
