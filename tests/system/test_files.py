"""Files, links and directories: whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.system import files


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_gets_its_content_and_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    before = os.umask(0o077)
    try:
        files.write(file, "grüße\r\n", mode=mode)
    finally:
        os.umask(before)
    assert file.read_bytes() == "grüße\r\n".encode()
    assert file.stat().st_mode & 0o7777 == mode
    assert listing(tmp_path) == ["file"]


@given(st.text() | st.binary())
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "written"
    try:
        expected = content.encode() if isinstance(content, str) else content
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            files.write(file, content)
        return
    files.write(file, content)
    assert file.read_bytes() == expected


def test_json(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", {"ä": [1, None]}, mode=0o600, indent=1)
    assert json.loads((tmp_path / "a").read_text()) == {"ä": [1, None]}
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a", {"x": object()})
    assert json.loads((tmp_path / "a").read_text()) == {"ä": [1, None]}
    assert listing(tmp_path) == ["a"]


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    files.write(file, "old")
    with pytest.raises(ValueError), files.replacing(file) as stream:
        stream.write(b"half of the n")
        raise ValueError
    assert file.read_text() == "old" and listing(tmp_path) == ["file"]


def test_a_new_file_is_private_until_it_is_complete(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "file", mode=0o644) as stream:
        stream.write(b"x")
        (scratch,) = tmp_path.iterdir()
        assert scratch.name.startswith(files.NEW) and scratch.stat().st_mode & 0o777 == 0o600


def test_a_link_of_that_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("others'")
    (tmp_path / "file").symlink_to("other")
    files.write(tmp_path / "file", "mine")
    assert (tmp_path / "other").read_text() == "others'"
    assert not (tmp_path / "file").is_symlink()


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        order.append("directory" if path == tmp_path else f"file of {path.stat().st_size} bytes")
        fsync(descriptor)

    def record_replace(source: str, target: str) -> None:
        order.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    files.write(tmp_path / "file", "12345")
    assert order == ["file of 5 bytes", "rename", "directory"]


KILLED = """
import os, sys
from pathlib import Path
from pillarbox.system import files
number = 0
while True:
    number += 1
    files.write(Path(sys.argv[1]), str(number % 10) * 300_000)
    if number == 1:
        print("begun", flush=True)
"""


def test_who_is_killed_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"begun\n"
            process.send_signal(signal.SIGKILL)
        content = file.read_text()
        assert len(content) == 300_000 and len(set(content)) == 1
    left = [path for path in tmp_path.iterdir() if path != file]
    assert all(path.name.startswith(files.NEW) for path in left)


def test_readers_see_one_whole_content_or_another(tmp_path: Path) -> None:
    file, over, seen = tmp_path / "file", threading.Event(), set()
    files.write(file, "a" * 100_000)

    def write() -> None:
        for number in range(40):
            files.write(file, "ab"[number % 2] * 100_000)
        over.set()

    writers = [threading.Thread(target=write) for _ in range(3)]
    for each in writers:
        each.start()
    while not over.is_set():
        content = file.read_text()
        seen.add((len(content), *set(content)))
    for each in writers:
        each.join()
    assert seen <= {(100_000, "a"), (100_000, "b")}


def test_a_directory_that_may_be_written_and_not_read_takes_files(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o730)
    os.chown(spool, 0, 65534)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            files.write(spool / "note", "there")
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (spool / "note").read_text() == "there"


def test_what_a_program_wrote_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("new")
    (tmp_path / "file").write_text("old")
    files.adopt(tmp_path / "made", tmp_path / "file")
    assert listing(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "new"


def test_a_link_takes_the_place_of_another_in_one_step(tmp_path: Path) -> None:
    link = tmp_path / "current"
    for target in ("one", "two"):
        (tmp_path / target).mkdir()
        files.link(link, target)
        assert os.readlink(link) == target
    assert listing(tmp_path) == ["current", "one", "two"]
    over, missing = threading.Event(), []

    def look() -> None:
        while not over.is_set():
            if not link.exists():
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(200):
        files.link(link, ("one", "two")[number % 2])
    over.set()
    thread.join()
    assert not missing


def test_a_directory_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "parents" / "made"
    with files.making(target, mode=0o750) as scratch:
        (scratch / "a").mkdir()
        (scratch / "a" / "b").write_text("c")
        (scratch / "link").symlink_to("nowhere")
        os.mkfifo(scratch / "pipe")
        assert not target.exists()
    assert listing(target) == ["a", "link", "pipe"] and (target / "a" / "b").read_text() == "c"
    assert target.stat().st_mode & 0o777 == 0o750
    assert listing(target.parent) == ["made"]


def test_an_error_while_a_directory_is_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), files.making(tmp_path / "made") as scratch:
        (scratch / "half").touch()
        raise ValueError
    assert listing(tmp_path) == []


def test_who_was_as_fast_stays(tmp_path: Path) -> None:
    with files.making(tmp_path / "made") as slow:
        (slow / "slow").touch()
        with files.making(tmp_path / "made") as fast:
            (fast / "fast").touch()
    assert listing(tmp_path) == ["made"] and listing(tmp_path / "made") == ["fast"]


def test_a_file_in_the_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    with pytest.raises(OSError), files.making(tmp_path / "made"):
        pass
    assert listing(tmp_path) == ["made"]


def test_what_is_removed_is_gone_at_once_and_whole(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "deep").mkdir(parents=True)
    (doomed / "deep" / "file").touch()
    files.remove(doomed)
    assert listing(tmp_path) == []
    files.remove(doomed)
    assert listing(tmp_path) == []
