"""The entrypoint's law: what the environment holds is what the program reads, byte for byte."""

from __future__ import annotations

import json
import os
import re
import signal
import string
import subprocess
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# An environment variable can hold every byte but NUL.
values = st.binary(max_size=40).map(lambda value: value.replace(b"\0", b"\1"))
tricky = st.lists(
    st.sampled_from(
        [b"$", b"$A", b"$A_B", b"$url:A", b"\\", b"'", b'"', b"\n", b"\r", b"%", b"\xff", b" ", b"a", b"="]
    ),
    max_size=8,
).map(b"".join)
values = values | tricky
names = st.text("ABC_1", min_size=1, max_size=4).map(lambda text: f"A{text}".encode())
around = st.binary(max_size=20).map(lambda text: text.replace(b"$", b"").lower())
any_examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def unescape_sql(text: bytes) -> bytes:
    """What MariaDB makes of the inside of a quoted string."""
    known = {b"n": b"\n", b"r": b"\r", b"Z": b"\x1a", b"0": b"\0", b"t": b"\t", b"b": b"\b"}
    assert re.fullmatch(rb"(?s:''|\\.|[^'\\])*", text), "the quoted string would end early"
    return re.sub(rb"(?s)''|\\(.)", lambda found: b"'" if found[0] == b"''" else known.get(found[1], found[1]), text)


def read_oslo(line: bytes) -> bytes:
    """What oslo.config makes of ``key = value``."""
    text = line.decode("utf-8", "surrogateescape").partition("=")[2].strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    text = string.Template(text.replace(r"\$", "$$")).substitute()
    return text.encode("utf-8", "surrogateescape")


@given(value=values, before=around, after=around)
def test_raw_values_survive(script: ModuleType, value: bytes, before: bytes, after: bytes) -> None:
    after = b"-" + after
    assert script.fill(before + b"$NAME" + after, {b"NAME": value}) == before + value + after
    assert script.fill(before + b"$raw:NAME" + after, {b"NAME": value}) == before + value + after


@pytest.mark.parametrize("place", [b"", b"json:", b"oslo:", b"url:", b"sql:"])
def test_a_digest_belongs_to_a_value_and_fits_everywhere(script: ModuleType, place: bytes) -> None:
    text = b"u-$" + place + b"digest:NAME."
    assert script.names_in(text, {b"NAME"}) == [b"NAME"]
    one, same, other = (script.fill(text, {b"NAME": value}) for value in (b"$a'\n", b"$a'\n", b"b"))
    assert re.fullmatch(rb"u-[0-9a-f]{8}\.", one)
    assert one == same != other


@given(value=values)
def test_url_values_survive(script: ModuleType, value: bytes) -> None:
    filled = script.fill(b"http://u:$url:NAME@h/", {b"NAME": value})
    assert re.fullmatch(rb"http://u:[A-Za-z0-9._~%-]*@h/", filled)
    assert unquote_to_bytes(filled[9:-3]) == value


@given(value=values)
def test_sql_values_survive(script: ModuleType, value: bytes) -> None:
    filled = script.fill(b"IDENTIFIED BY '$sql:NAME';", {b"NAME": value})
    assert b"\n" not in filled
    assert unescape_sql(filled[len("IDENTIFIED BY '") : -2]) == value


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_json_text_survives(script: ModuleType, value: str) -> None:
    filled = script.fill(b'{"key": "$json:NAME"}', {b"NAME": value.encode()})
    assert json.loads(filled) == {"key": value}


@given(value=values)
def test_oslo_values_survive_or_are_refused(script: ModuleType, value: bytes) -> None:
    if b"\n" in value or b"\r" in value or rb"\$" in value:
        with pytest.raises(script.Stop) as stopped:
            script.fill(b"key = $oslo:NAME\n", {b"NAME": value})
        assert stopped.value.code == 78
        assert "NAME" in str(stopped.value)
    else:
        assert read_oslo(script.fill(b"key = $oslo:NAME\n", {b"NAME": value}).rstrip(b"\n")) == value


def test_no_value_is_ever_told(script: ModuleType) -> None:
    with pytest.raises(script.Stop) as stopped:
        script.fill(b"$oslo:NAME", {b"NAME": b"hunter2\n"})
    assert "hunter2" not in str(stopped.value)


def test_json_refuses_what_is_not_text(script: ModuleType) -> None:
    with pytest.raises(script.Stop) as stopped:
        script.fill(b'"$json:NAME"', {b"NAME": b"\xff"})
    assert stopped.value.code == 78


@given(values=st.dictionaries(names, values, max_size=4), used=st.lists(names, max_size=6), gap=around)
def test_one_pass_and_whole_names(
    script: ModuleType, values: dict[bytes, bytes], used: list[bytes], gap: bytes
) -> None:
    """A value is never filled again, a longer name is never taken for a shorter one, other names stay."""
    gap = b"." + gap
    content = gap.join(b"$" + name for name in used)
    assert script.fill(content, values) == gap.join(values.get(name, b"$" + name) for name in used)


@pytest.mark.parametrize(
    ("content", "filled"),
    [
        (b"$DB_HOST", b"h"),
        (b"$DB_HOSTNAME", b"$DB_HOSTNAME"),
        (b"$DB_HOST_2", b"$DB_HOST_2"),
        (b"$DB_HOST.example", b"h.example"),
        (b"$DB_HOST$DB_PORT", b"h1"),
        (b"${DB_HOST} $db_host $(DB_HOST) $foo:DB_HOST", b"${DB_HOST} $db_host $(DB_HOST) $foo:DB_HOST"),
        (b"$$DB_HOST", b"$h"),
        (b"$raw:DB_PORT$url:DB_HOST", b"1h"),
        (b"$", b"$"),
        (b"", b""),
    ],
)
def test_grammar(script: ModuleType, content: bytes, filled: bytes) -> None:
    assert script.fill(content, {b"DB_HOST": b"h", b"DB_PORT": b"1"}) == filled


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The root of an image with one template and one process."""
    template = tmp_path / "etc/pillarbox/templates/etc/toy.conf"
    template.parent.mkdir(parents=True)
    template.write_bytes(b"a = $ONE\nb = $TWO\nc = $THREE\n")
    template.chmod(0o640)
    state = {"names": ["ONE", "TWO"], "files": {"/etc/toy.conf": ["ONE", "TWO"]}}
    (tmp_path / "etc/pillarbox/entrypoint.json").write_text(json.dumps(state))
    (tmp_path / "entrypoint.d").mkdir()
    return tmp_path


@any_examples
@given(one=values, two=values)
def test_files_are_filled_with_their_mode(script: ModuleType, image: Path, one: bytes, two: bytes) -> None:
    script.fill_all({b"ONE": one, b"TWO": two, b"THREE": b"no"}, str(image))
    target = image / "etc/toy.conf"
    assert target.read_bytes() == b"a = " + one + b"\nb = " + two + b"\nc = $THREE\n"
    assert target.stat().st_mode & 0o7777 == 0o640
    assert sorted(os.listdir(image / "etc")) == ["pillarbox", "toy.conf"]


def test_every_missing_name_is_named_and_nothing_written(script: ModuleType, image: Path) -> None:
    with pytest.raises(script.Stop) as stopped:
        script.fill_all({}, str(image))
    assert stopped.value.code == 78
    assert "ONE" in str(stopped.value)
    assert "TWO" in str(stopped.value)
    assert not (image / "etc/toy.conf").exists()


def test_empty_is_not_missing(script: ModuleType, image: Path) -> None:
    script.fill_all({b"ONE": b"", b"TWO": b""}, str(image))
    assert (image / "etc/toy.conf").read_bytes() == b"a = \nb = \nc = $THREE\n"


def test_a_value_that_does_not_fit_changes_no_file(script: ModuleType, image: Path) -> None:
    (image / "etc/pillarbox/templates/etc/zzz.conf").write_bytes(b"a = $oslo:ONE\n")
    state = {"names": ["ONE", "TWO"], "files": {"/etc/toy.conf": ["ONE"], "/etc/zzz.conf": ["ONE"]}}
    (image / "etc/pillarbox/entrypoint.json").write_text(json.dumps(state))
    with pytest.raises(script.Stop, match=r"/etc/zzz\.conf: ONE: "):
        script.fill_all({b"ONE": b"secret\nline", b"TWO": b""}, str(image))
    assert not (image / "etc/toy.conf").exists()


def test_what_a_cut_short_start_left_is_no_obstacle(script: ModuleType, image: Path) -> None:
    (image / f"etc/.toy.conf.{os.getpid()}").write_bytes(b"half")
    script.fill_all({b"ONE": b"1", b"TWO": b"2"}, str(image))
    assert sorted(os.listdir(image / "etc")) == ["pillarbox", "toy.conf"]


def test_a_target_that_cannot_be_written_is_named(script: ModuleType, image: Path) -> None:
    (image / "etc/toy.conf").mkdir()
    with pytest.raises(script.Stop, match="cannot write") as stopped:
        script.fill_all({b"ONE": b"1", b"TWO": b"2"}, str(image))
    assert stopped.value.code == 73
    assert "toy.conf" in str(stopped.value)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The script as a container starts it: the file itself, in a root of its own that borrows this machine's /usr."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot")
    root = tmp_path_factory.mktemp("root")
    for name in ("usr", "etc/pillarbox/templates/etc", "entrypoint.d", "dev", "proc"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "entrypoint.sh").write_bytes((repository / "images/entrypoint").read_bytes())
    (root / "entrypoint.sh").chmod(0o755)
    (root / "etc/pillarbox/templates/etc/toy.conf").write_bytes(b"$ONE")
    state = {"names": ["ONE"], "files": {"/etc/toy.conf": ["ONE"]}}
    (root / "etc/pillarbox/entrypoint.json").write_text(json.dumps(state))
    for name, text in {
        "show": '#!/bin/sh\necho "$$ $(wc -l < /etc/toy.conf) $*"\n',
        "signals": "#!/bin/sh\nexec grep SigIgn /proc/self/status\n",
        "code": "#!/bin/sh\nexit 7\n",
        "broken": "#!/nowhere/sh\n",
    }.items():
        (root / "entrypoint.d" / name).write_text(text)
        (root / "entrypoint.d" / name).chmod(0o755)
    return root


def start(root: Path, *arguments: str, environ: dict[bytes, bytes]) -> subprocess.CompletedProcess[bytes]:
    mounts = f"mount --rbind /usr {root}/usr && mount -t proc proc {root}/proc && "
    inner = f'{mounts} exec chroot {root} /entrypoint.sh "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inner, "sh", *arguments]
    return subprocess.run(command, env={b"PATH": os.environb[b"PATH"], **environ}, capture_output=True)


def test_fills_and_becomes_the_process(root: Path) -> None:
    done = start(root, "show", "a b", "c", environ={b"ONE": b"x\ny\xff\n"})
    assert (done.returncode, done.stderr) == (0, b"")
    _, lines, arguments = done.stdout.split(maxsplit=2)
    assert (lines, arguments) == (b"2", b"a b c\n")
    assert (root / "etc/toy.conf").read_bytes() == b"x\ny\xff\n"


def test_exit_code_is_the_process_own(root: Path) -> None:
    assert start(root, "code", environ={b"ONE": b""}).returncode == 7


def test_no_signal_stays_ignored(root: Path) -> None:
    done = start(root, "signals", environ={b"ONE": b""})
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))
    assert not ignored & (1 << (signal.SIGXFSZ - 1))


@pytest.mark.parametrize("process", ["nope", "../usr/bin/id", "", ".", "show/"])
def test_unknown_processes_list_the_known(root: Path, process: str) -> None:
    done = start(root, process, environ={b"ONE": b"1"})
    assert done.returncode == 64
    assert b"broken, code, show, signals" in done.stderr


def test_no_process_lists_the_known(root: Path) -> None:
    done = start(root, environ={})
    assert done.returncode == 64
    assert b"broken, code, show, signals" in done.stderr


def test_missing_names_stop_the_start(root: Path) -> None:
    done = start(root, "show", environ={})
    assert (done.returncode, done.stdout) == (78, b"")
    assert done.stderr == b"entrypoint: ONE is not set in the environment\n"


def test_a_process_that_cannot_be_executed(root: Path) -> None:
    done = start(root, "broken", environ={b"ONE": b""})
    assert done.returncode == 126
    assert b"cannot execute /entrypoint.d/broken" in done.stderr
