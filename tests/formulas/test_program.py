"""Programs for hosts: their pins, the name of what they become, and the script that compiles them.

pins    every program says what it is; its go.mod names that version and nothing that is not published
key     the directory's name changes with whatever the binaries are compiled from, and with nothing else
script  a toolchain with another hash never runs; what fails or is interrupted leaves nothing, and is made the next time
real    a program is compiled from its pins, and a version is pinned again (with --long: it takes minutes)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.formulas.test_hosts import ROOT, compiled_states, schema
from tests.programs import numbers

from pillarbox.model import Inventory

FORMULA = ROOT / "formulas" / "program"
PROGRAMS = FORMULA / "files"
SCRIPT = PROGRAMS / "provide"
TOOLCHAIN = yaml.safe_load((PROGRAMS / "toolchain.yml").read_text())
VERSIONS = sorted(str(file.parent.relative_to(PROGRAMS)) for file in PROGRAMS.glob("*/*/program.yml"))
WORDS = {"version", "major", "minor"}
KEYS = {"modules", "replace", "commands", "tags", "ldflags", "cgo", "c", "archives", "packages"}


@pytest.mark.parametrize("directory", VERSIONS)
def test_pins_name_the_version_that_they_say(directory: str) -> None:
    name, version = directory.split("/")
    program = yaml.safe_load((PROGRAMS / directory / "program.yml").read_text())
    assert program.keys() <= KEYS and {"modules", "commands"} <= program.keys()
    lines = (PROGRAMS / directory / "go.mod").read_text()
    required = dict(re.findall(r"^(?:require )?\t?([a-z0-9][\w./-]+) (v\S+)(?: // indirect)?$", lines, re.MULTILINE))
    assert f"module pillarbox/{name}\n" in lines
    assert {module: required.get(module) for module in program["modules"]} == dict.fromkeys(
        program["modules"], f"v{version}"
    )
    # The toolchain must be new enough, and is chosen by nothing but its pin.
    language = re.search(r"^go (\S+)$", lines, re.MULTILINE)
    assert language and numbers(language[1]) <= numbers(TOOLCHAIN["version"])
    assert not re.search(r"^toolchain ", lines, re.MULTILINE)
    # What is compiled instead of a module is said there, or is a published module: of Kubernetes' own staging folder,
    # or what a module names itself.
    given = program.get("replace", {})
    found = re.findall(r"^(?:replace )?\t?(\S+) => (\S+) ?(\S*)$", lines, re.MULTILINE)
    assert given.keys() <= {module for module, _, _ in found}
    for module, instead, release in found:
        if module in given:
            assert given[module] == (release or instead)
            assert release or (PROGRAMS / directory / instead / "go.mod").is_file()
        elif module.startswith("k8s.io/"):
            assert module == instead and release == f"v0.{version.split('.', 1)[1]}"
        else:
            assert release.startswith("v")
    for package in program["commands"].values():
        own = package == "." and (PROGRAMS / directory / "main.go").is_file()
        assert own or any(package == module or package.startswith(f"{module}/") for module in program["modules"])
    for each in (*program.get("c", {}).values(), *program.get("archives", {}).values()):
        assert each["module"] in program["modules"]
    assert set(re.findall(r"\{(\w*)\}", json.dumps([program.get("ldflags"), program.get("c")]))) <= WORDS


@pytest.mark.parametrize("directory", VERSIONS)
def test_sums_cover_the_modules_that_are_asked_for(directory: str) -> None:
    program = yaml.safe_load((PROGRAMS / directory / "program.yml").read_text())
    version = directory.split("/")[1]
    lines = (PROGRAMS / directory / "go.sum").read_text().splitlines()
    assert all(re.fullmatch(r"\S+ v\S+ h1:[A-Za-z0-9+/]{43}=", line) for line in lines)
    named = {tuple(line.split()[:2]) for line in lines}
    assert {(module, f"v{version}") for module in program["modules"]} <= named


@pytest.mark.parametrize(
    "wrong",
    [
        {"toolchain": {"version": "1.26.11"}},
        {"toolchain": {"version": "1.26", "hash": TOOLCHAIN["hash"]}},
        {"toolchain": {"version": "1.26.11", "hash": "sha256=00"}},
        {"program": {"runc": {}}},
        {"program": {"runc": {"version": "latest"}}},
        {"program": {"runc": {"version": "1.5.3", "url": "https://example.com/runc"}}},
        {"program": {"runc": {"version": "1.5.3", "hash": f"sha256={'0' * 64}"}}},
        {"program": {"runc": {"version": "1.5.3", "url": "a://b", "hash": f"sha256={'0' * 64}", "path": "/opt"}}},
        {"directory": "relative"},
        {"saltenv": "base"},
        {"saltenv": "__env__"},
        {"programs": {}},
    ],
)
def test_schema_refuses(wrong: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema("program", "source"))
    right = {"enabled": True, "directory": "/srv", "toolchain": TOOLCHAIN, "program": {"runc": {"version": "1.5.3"}}}
    assert validator.is_valid(right)
    assert not validator.is_valid(right | wrong)


# The name that other formulas get.

PROBE = """
{%- from 'program/map.jinja' import path, wait, binary with context %}
{{ wait('coredns', ['coredns']) }}
{{ binary('coredns', 'coredns') }}
path:
  test.configurable_test_state:
  - name: {{ path('coredns') }}
  - changes: false
  - result: true
"""


def states(formulas: Path, scratch: Path, /, **pillar: Any) -> list[dict[str, Any]]:
    """Salt's low state of a host that waits for a program, with ``pillar`` as program:source."""
    (formulas / "probe.sls").write_text(PROBE)
    scratch.mkdir()
    parameters = {"_reclass_": {"name": {"full": "host"}}, "program": {"source": pillar}}
    low, _ = compiled_states("host", parameters, ["program", "probe"], scratch, formulas)
    assert all(isinstance(chunk, dict) for chunk in low), low
    return low


def path(low: list[dict[str, Any]]) -> str:
    return next(chunk["name"] for chunk in low if chunk["__id__"] == "path")


@pytest.fixture
def formulas(tmp_path: Path) -> Path:
    shutil.copytree(FORMULA, tmp_path / "formulas" / "program")
    return tmp_path / "formulas"


COREDNS = {"program": {"coredns": {"version": "1.15.0"}}}


def test_the_key_is_of_all_that_a_program_is_compiled_from(formulas: Path, tmp_path: Path) -> None:
    files = formulas / "program" / "files"
    seen = [path(states(formulas, tmp_path / "first", **COREDNS))]
    assert re.fullmatch(r"/srv/programs/coredns-1\.15\.0-[0-9a-f]{12}", seen[0])
    inputs = [files / "coredns/1.15.0" / name for name in ("program.yml", "go.mod", "go.sum", "main.go")]
    for changed in inputs:
        before = changed.read_text()
        changed.write_text(before + "\n")
        seen.append(path(states(formulas, tmp_path / changed.name, **COREDNS)))
        changed.write_text(before)
    for number, change in enumerate(({"version": "1.26.12"}, {"hash": f"h1:{'A' * 43}="})):
        seen.append(path(states(formulas, tmp_path / str(number), toolchain=TOOLCHAIN | change, **COREDNS)))
    assert len(set(seen)) == len(seen)
    # Nothing else counts.
    shutil.copytree(files / "coredns/1.15.0", files / "coredns/1.15.00")
    for file in (files / "wait", files / "provide", files / "runc/1.5.3/go.sum"):
        file.write_text(file.read_text() + "\n")
    assert path(states(formulas, tmp_path / "other", toolchain=TOOLCHAIN, **COREDNS)) == seen[0]
    elsewhere = path(states(formulas, tmp_path / "elsewhere", directory="/srv/other", **COREDNS))
    assert elsewhere == seen[0].replace("/srv/programs", "/srv/other")


def test_another_way_of_compiling_is_another_key() -> None:
    """Whoever changes these functions asks: do other binaries come out? Then `recipe` in map.jinja goes up by one."""
    script = SCRIPT.read_text()
    compiling = [
        script[script.index(f"def {name}(") :].split("\n\n\n")[0] for name in ("environment", "compile_program")
    ]
    digest = hashlib.sha256("".join(compiling).encode()).hexdigest()[:12]
    recipe = re.search(r"set recipe = (\d+)", (FORMULA / "map.jinja").read_text())
    assert recipe and (recipe[1], digest) == ("1", "0db981144bdb")


def test_a_host_that_makes_it_starts_early_and_waits_for_the_same_directory(formulas: Path, tmp_path: Path) -> None:
    compiled = states(formulas, tmp_path / "states", enabled=True, **COREDNS)
    low = {chunk["__id__"]: chunk for chunk in compiled}
    target = path(compiled)
    (program,) = low["program_source_plan"]["dataset"]["programs"]
    assert program["directory"] == target
    sources = {chunk["name"] for chunk in low.values() if chunk["name"].startswith(program["source"])}
    assert sources == {f"{program['source']}/{name}" for name in ("go.mod", "go.sum", "main.go")}
    assert f"test -e {target}/SHA256SUMS" in low["program_source_started"]["unless"]
    assert low["program_source_started"]["order"] < low["program_coredns_complete"]["order"]
    assert {"cmd": "program_source_started"} in low["program_coredns_complete"]["require"]


def test_a_host_that_makes_nothing_only_waits(formulas: Path, tmp_path: Path) -> None:
    low = {chunk["__id__"]: chunk for chunk in states(formulas, tmp_path / "states", **COREDNS)}
    assert low.keys() == {"path", "program_coredns_waiter", "program_coredns_complete", "program_binary_coredns"}
    copy = low["program_binary_coredns"]
    assert (copy["fun"], copy["name"]) == ("managed", "/usr/local/bin/coredns")
    assert copy["source"] == f"{path([*low.values()])}/coredns"


def test_a_host_that_shares_nothing_takes_it_from_the_master(formulas: Path, tmp_path: Path) -> None:
    given = {"saltenv": "programs", "link": True, "timeout": 60, **COREDNS}
    low = {chunk["__id__"]: chunk for chunk in states(formulas, tmp_path / "states", **given)}
    target = path([*low.values()])
    sums, taken, complete = (low[f"program_coredns_{name}"] for name in ("sums", "taken_coredns", "complete"))
    assert (sums["name"], taken["name"]) == (f"{target}/SHA256SUMS", f"{target}/coredns")
    folder = target.rsplit("/", 1)[1]
    assert sums["source"] == f"salt://{folder}/SHA256SUMS?saltenv=programs"
    assert taken["source"] == f"salt://{folder}/coredns?saltenv=programs"
    assert sums["retry"] == {"attempts": 7, "interval": 10}
    assert "sha256sum --check" in complete["unless"]
    assert low["program_binary_coredns"]["target"] == f"{target}/coredns"
    # Who makes it has it.
    low = {chunk["__id__"]: chunk for chunk in states(formulas, tmp_path / "source", enabled=True, **given)}
    assert "program_coredns_waiter" in low and "program_coredns_sums" not in low


@pytest.mark.parametrize("host", ["kmst01", "ctl01"])
def test_every_formula_takes_its_programs_from_the_master(tmp_path: Path, host: str) -> None:
    node = Inventory(ROOT).node(host)
    parameters = json.loads(json.dumps(node.parameters))
    parameters["program"]["source"] |= {"saltenv": "programs", "link": False}
    low, _ = compiled_states(host, parameters, node.applications, tmp_path)
    assert all(isinstance(chunk, dict) for chunk in low), low
    known = {(chunk["state"], chunk["__id__"]) for chunk in low}
    asked = {
        (state, name)
        for chunk in low
        for kind in ("require", "watch")
        for each in chunk.get(kind, [])
        for state, name in each.items()
        if name.startswith("program_")
    }
    assert asked and asked <= known
    taken = {chunk["name"] for chunk in low if chunk["__id__"].startswith("program_") and "_taken_" in chunk["__id__"]}
    used = {chunk["source"] for chunk in low if chunk["__id__"].startswith("program_binary_")}
    assert used and used <= taken


def test_what_stands_in_for_a_module_comes_along(formulas: Path, tmp_path: Path) -> None:
    folder = formulas / "program" / "files" / "coredns" / "1.15.0" / "stub"
    before = path(states(formulas, tmp_path / "before", **COREDNS))
    folder.mkdir()
    (folder / "go.mod").write_text("module example.com/stub\n")
    low = states(formulas, tmp_path / "states", enabled=True, **COREDNS)
    assert path(low) != before
    (program,) = next(chunk["dataset"] for chunk in low if chunk["__id__"] == "program_source_plan")["programs"]
    files = {chunk["name"]: chunk["source"] for chunk in low if chunk["name"].startswith(program["source"])}
    assert files[f"{program['source']}/stub/go.mod"] == "salt://program/files/coredns/1.15.0/stub/go.mod"
    assert files[f"{program['source']}/go.mod"] == "salt://program/files/coredns/1.15.0/go.mod"


def test_hosts_may_run_it_from_where_it_lies(formulas: Path, tmp_path: Path) -> None:
    low = states(formulas, tmp_path / "states", link=True, **COREDNS)
    link = next(chunk for chunk in low if chunk["__id__"] == "program_binary_coredns")
    assert (link["fun"], link["target"]) == ("symlink", f"{path(low)}/coredns")


def test_what_is_fetched_is_named_by_its_digest(formulas: Path, tmp_path: Path) -> None:
    given = {"version": "1.15.9", "url": "https://example.com/coredns.tgz", "hash": f"sha256={'0123456789ab' * 6}"[:71]}
    low = states(formulas, tmp_path / "states", enabled=True, program={"coredns": given})
    assert path(low) == "/srv/programs/coredns-1.15.9-0123456789ab"
    plan = next(chunk["dataset"] for chunk in low if chunk["__id__"] == "program_source_plan")
    assert plan["programs"] == [{**given, "name": "coredns", "directory": path(low)}]


def test_what_is_there_already_is_not_made(formulas: Path, tmp_path: Path) -> None:
    given = {"version": "1.15.9", "path": "/opt/coredns"}
    low = states(formulas, tmp_path / "states", enabled=True, program={"coredns": given})
    assert path(low) == "/opt/coredns"
    found = {chunk["__id__"]: chunk for chunk in low}
    assert found["program_source_plan"]["dataset"]["programs"] == []
    assert found["program_coredns_complete"]["require"] == [{"file": "program_coredns_waiter"}]


def test_a_version_without_pins_is_refused_by_name(formulas: Path, tmp_path: Path) -> None:
    (formulas / "probe.sls").write_text(PROBE)
    asked = {"program": {"coredns": {"version": "1.15.99"}}, "enabled": True}
    for state, given, words in (
        ("probe", asked, "ci/pin-go-modules coredns 1.15.99"),
        ("program", asked, "ci/pin-go-modules coredns 1.15.99"),
        ("probe", {}, "program:source:program has no coredns"),
    ):
        parameters = {"_reclass_": {"name": {"full": "host"}}, "program": {"source": given}}
        scratch = tmp_path / f"{state}-{len(given)}"
        scratch.mkdir()
        low, _ = compiled_states("host", parameters, [state], scratch, formulas)
        assert words in str(low)


def test_waiting_ends_when_it_is_there_or_takes_too_long(tmp_path: Path) -> None:
    command = ["sh", PROGRAMS / "wait", tmp_path, "0", "kubectl"]
    (tmp_path / "build.log").write_text("1/3 etcd\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "program:source:enabled" in done.stderr and "1/3 etcd" in done.stderr
    (tmp_path / "SHA256SUMS").touch()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"expected kubectl in {tmp_path}, found: SHA256SUMS build.log" in done.stderr
    (tmp_path / "kubectl").touch(0o755)
    subprocess.run(command, check=True)


# The script. The distribution's Go is the real one; the toolchain that it fetches here is a small program, from a
# module proxy that is a directory, so that what is run and when can be seen.

GO = r"""#!/bin/sh
echo "$$ $*" >> "$CALLS"
case "$1" in
build)
  while [ -e "$HOLD" ]; do sleep 0.1; done
  while [ $# -gt 1 ]; do [ "$1" = -o ] && made=$2; shift; done
  [ ! -e "$FAULTY" ] || case "$1" in faulty*) echo "$1: it does not compile" >&2; exit 1 ;; esac
  echo "$1" > "$made" ;;
list)
  case "$*" in *-json*) echo "{\"Dir\": \"$PWD\"}" ;; esac ;;
esac
"""
VERSION = "v0.0.1-go1.99.0.linux-amd64"


def proxied(directory: Path) -> str:
    """Fill a directory as a module proxy that has a toolchain; its hash, as a go.sum would have it."""
    folder = directory / "golang.org" / "toolchain" / "@v"
    folder.mkdir(parents=True)
    (folder / f"{VERSION}.info").write_text(json.dumps({"Version": VERSION, "Time": "2026-01-01T00:00:00Z"}))
    (folder / f"{VERSION}.mod").write_text("module golang.org/toolchain\n")
    name = f"golang.org/toolchain@{VERSION}/bin/go"
    with zipfile.ZipFile(folder / f"{VERSION}.zip", "w") as archive:
        archive.writestr(name, GO)
    listed = f"{hashlib.sha256(GO.encode()).hexdigest()}  {name}\n"
    return "h1:" + base64.b64encode(hashlib.sha256(listed.encode()).digest()).decode()


class Host:
    """What a host has that compiles two programs, one of them faulty as long as the file FAULTY is there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hash = proxied(directory / "proxy")
        self.calls, self.hold, self.faulty = (directory / name for name in ("calls", "hold", "FAULTY"))
        for name in ("faulty", "sound"):
            (directory / "source" / name).mkdir(parents=True)
            (directory / "source" / name / "go.mod").write_text(f"module {name}\n")

    def out(self, name: str) -> Path:
        return self.directory / "out" / name

    def start(self, digest: str | None = None, archives: dict[str, Any] | None = None) -> subprocess.Popen[str]:
        programs = [
            {
                "name": name,
                "version": "1.2.3",
                "directory": str(self.out(name)),
                "source": str(self.directory / "source" / name),
                "commands": {"one": f"{name}/one", "two": f"{name}/two"},
                "tags": [],
                "ldflags": [],
                "cgo": False,
                "c": {},
                "archives": (archives or {}) if name == "sound" else {},
            }
            for name in ("faulty", "sound")
        ]
        toolchain = {"version": "1.99.0", "hash": digest or self.hash}
        plan = {"work": str(self.directory / "work"), "toolchain": toolchain, "programs": programs}
        file = self.directory / "plan.json"
        file.write_text(json.dumps(plan))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "GOPROXY": (self.directory / "proxy").as_uri(),
            "GOSUMDB": "off",
            "CALLS": str(self.calls),
            "HOLD": str(self.hold),
            "FAULTY": str(self.faulty),
        }
        return subprocess.Popen(
            [SCRIPT, file], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, digest: str | None = None, archives: dict[str, Any] | None = None) -> tuple[int, str]:
        process = self.start(digest, archives)
        out, _ = process.communicate(timeout=600)
        return process.returncode, out

    def built(self) -> list[str]:
        return [line.split()[-1] for line in self.calls.read_text().splitlines() if line.split()[1] == "build"]

    def nothing_left(self) -> bool:
        return not (self.directory / "work" / "program-source").exists()


@pytest.fixture
def distributions_go() -> None:
    """A Go of Debian's, which hosts fetch the toolchain with."""
    apt = shutil.which("apt-cache")
    found = apt and subprocess.run([apt, "depends", "golang-go"], capture_output=True, text=True, check=False).stdout
    if not found or os.uname().machine != "x86_64":
        pytest.skip("needs Debian's golang-go for amd64, which apt does not know here")


@pytest.fixture
def host(tmp_path: Path, distributions_go: None) -> Host:
    return Host(tmp_path)


def test_a_toolchain_with_another_hash_never_runs(host: Host) -> None:
    wrong = f"h1:{'A' * 43}="
    code, out = host.run(wrong)
    assert code == 1
    assert f"has the hash {host.hash}, but {wrong} is expected" in out
    assert not host.calls.exists()
    for name in ("faulty", "sound"):
        assert sorted(file.name for file in host.out(name).iterdir()) == ["FAILED", "build.log"]
        assert "nothing of it was run" in (host.out(name) / "build.log").read_text()
    assert host.nothing_left()


def test_what_failed_is_tried_again_and_what_is_there_is_not(host: Host) -> None:
    host.faulty.touch()
    code, out = host.run()
    assert code == 1 and "not made: faulty" in out
    assert sorted(file.name for file in host.out("faulty").iterdir()) == ["FAILED", "build.log"]
    assert "faulty/one: it does not compile" in (host.out("faulty") / "build.log").read_text()
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=host.out("sound"), check=True)
    assert "faulty" not in (host.out("sound") / "build.log").read_text()
    assert host.built() == ["faulty/one", "sound/one", "sound/two"]
    assert host.nothing_left()

    host.faulty.unlink()
    host.calls.unlink()
    code, out = host.run()
    assert code == 0, out
    assert host.built() == ["faulty/one", "faulty/two"]
    names = ["SHA256SUMS", "build.log", "one", "two"]
    assert sorted(file.name for file in host.out("faulty").iterdir()) == names
    assert all(os.access(host.out("faulty") / name, os.X_OK) for name in ("one", "two"))

    host.calls.unlink()
    code, out = host.run()
    assert code == 0 and "everything is there" in out and not host.calls.exists()


def test_a_folder_of_a_module_comes_as_an_archive(host: Host) -> None:
    file = host.directory / "source" / "sound" / "data" / "include" / "a.h"
    file.parent.mkdir(parents=True)
    file.write_text("#define A\n")
    code, out = host.run(archives={"data.tar": {"module": "sound", "folder": "data"}})
    assert code == 0, out
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=host.out("sound"), check=True)
    with tarfile.open(host.out("sound") / "data.tar") as tar:
        assert tar.getnames() == ["data", "data/include", "data/include/a.h"]
        # Made elsewhere and on another day it is the same.
        assert {(each.uid, each.gid, each.mtime) for each in tar} == {(0, 0, 0)}
        member = tar.extractfile("data/include/a.h")
        assert member and member.read() == b"#define A\n"


def test_an_interrupted_compile_leaves_nothing_and_begins_again(host: Host) -> None:
    host.hold.touch()
    process = host.start()
    while not host.calls.exists() or not host.built():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    compiler = host.calls.read_text().splitlines()[-1].split()[0]
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert not Path("/proc", compiler).exists()
    for name in ("faulty", "sound"):
        assert sorted(file.name for file in host.out(name).iterdir()) == ["FAILED", "build.log"]
        assert "interrupted" in (host.out(name) / "build.log").read_text()
    assert host.nothing_left()

    # So does one whose machine went off: nobody cleared up.
    left = host.directory / "work" / "program-source" / "source" / "faulty"
    left.mkdir(parents=True)
    (host.out("faulty") / ".one.new").touch()
    host.hold.unlink()
    code, out = host.run()
    assert code == 0, out
    assert sorted(file.name for file in host.out("faulty").iterdir()) == ["SHA256SUMS", "build.log", "one", "two"]
    assert host.nothing_left()


# What is fetched.

COMMANDS = ("kube-apiserver", "kubectl")


def archive(directory: Path, names: tuple[str, ...] = COMMANDS) -> tuple[str, str]:
    """The URL and hash of an archive like those of Kubernetes releases, with a file that is not executable."""
    tree = directory / "kubernetes" / "server" / "bin"
    tree.mkdir(parents=True)
    file = directory / "server.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        for name in (*names, "kube-apiserver.tar"):
            (tree / name).write_text(f"#!/bin/sh\necho {name}\n")
            (tree / name).chmod(0o755 if name in names else 0o644)
            tar.add(tree / name, f"kubernetes/server/bin/{name}")
    return file.as_uri(), f"sha256={hashlib.sha256(file.read_bytes()).hexdigest()}"


def fetch(directory: Path, url: str, digest: str) -> subprocess.CompletedProcess[str]:
    program = {
        "name": "kubernetes",
        "version": "1.37.2",
        "directory": str(directory / "out"),
        "url": url,
        "hash": digest,
    }
    plan = {"work": str(directory), "toolchain": TOOLCHAIN, "programs": [program]}
    (directory / "plan.json").write_text(json.dumps(plan))
    return subprocess.run([SCRIPT, directory / "plan.json"], capture_output=True, text=True, check=False)


def test_an_archive_is_published_with_its_sums(tmp_path: Path) -> None:
    done = fetch(tmp_path, *archive(tmp_path))
    assert done.returncode == 0, done.stdout
    target = tmp_path / "out"
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=target, check=True)
    assert {path.name for path in target.iterdir()} == {*COMMANDS, "SHA256SUMS", "build.log"}
    assert all(os.access(target / name, os.X_OK) for name in COMMANDS)


def test_one_binary_need_not_be_in_an_archive(tmp_path: Path) -> None:
    file = tmp_path / "kubernetes.amd64"
    file.write_text("#!/bin/sh\n")
    done = fetch(tmp_path, file.as_uri(), f"sha256={hashlib.sha256(file.read_bytes()).hexdigest()}")
    assert done.returncode == 0, done.stdout
    assert os.access(tmp_path / "out" / "kubernetes", os.X_OK)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("digest", "sha256=0000"),
        ("empty", "no file that can be executed"),
        ("absent", "cannot fetch"),
        ("damaged", "is no whole archive"),
    ],
)
def test_an_archive_that_is_wrong_is_never_complete(tmp_path: Path, fault: str, words: str) -> None:
    url, digest = archive(tmp_path, () if fault == "empty" else COMMANDS)
    digest = f"sha256={'0' * 64}" if fault == "digest" else digest
    if fault == "damaged":
        file = tmp_path / "server.tar.gz"
        file.write_bytes(file.read_bytes()[:-20])
        digest = f"sha256={hashlib.sha256(file.read_bytes()).hexdigest()}"
    done = fetch(tmp_path, url + (".gone" if fault == "absent" else ""), digest)
    assert done.returncode != 0 and words in done.stdout and "Traceback" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"FAILED", "build.log"}


def test_an_answer_that_ends_too_early_is_asked_for_again(tmp_path: Path) -> None:
    _, digest = archive(tmp_path)
    content = (tmp_path / "server.tar.gz").read_bytes()
    answers = [content[: len(content) // 2], content]

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(answers.pop(0))

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = fetch(tmp_path, f"http://127.0.0.1:{server.server_port}/server.tar.gz", digest)
        server.shutdown()
    assert done.returncode == 0, done.stdout
    assert "bytes too early; fetching it, again" in done.stdout and not answers


def test_a_disk_that_is_full_is_told_and_made_use_of_once_it_is_not(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a disk of its own")
    file, out = tmp_path / "kubernetes.amd64", tmp_path / "out"
    file.write_bytes(b"x" * 10**6)
    out.mkdir()
    digest = f"sha256={hashlib.sha256(file.read_bytes()).hexdigest()}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", out], check=True)
    try:
        (out / "full").write_bytes(bytes(196 * 1024))
        done = fetch(tmp_path, file.as_uri(), digest)
        assert done.returncode == 1 and "failed: [Errno 28] No space left on device" in done.stdout
        assert "Traceback" not in done.stderr
        assert sorted(path.name for path in out.iterdir()) == ["FAILED", "build.log", "full"]
        waits = subprocess.run(["sh", PROGRAMS / "wait", out, "0", "kubectl"], capture_output=True, text=True)
        assert waits.returncode == 1 and re.search(r"^room there: \d\S*$", waits.stderr, re.MULTILINE), waits.stderr
        (out / "full").unlink()
        subprocess.run(["mount", "-o", "remount,size=10M", out], check=True)
        assert fetch(tmp_path, file.as_uri(), digest).returncode == 0
    finally:
        subprocess.run(["umount", out], check=True)


# For real.


@pytest.mark.long
def test_a_program_is_compiled_from_its_pins(host: Host, formulas: Path, tmp_path: Path) -> None:
    """The environment holds nothing but this machine's own settings of Go, of proxies and of authorities."""
    named = {
        # The other is what the probe waits for, and is not made.
        "program": {"cni-plugins": {"version": "1.9.1"}, "coredns": {"version": "1.15.0", "path": "/opt/coredns"}},
        "directory": str(tmp_path / "out"),
        "work": str(tmp_path),
    }
    low = states(formulas, tmp_path / "states", enabled=True, **named)
    plan = next(chunk["dataset"] for chunk in low if chunk["__id__"] == "program_source_plan")
    (program,) = plan["programs"]
    program["source"] = str(PROGRAMS / "cni-plugins" / "1.9.1")
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    own = re.compile(r"HOME|PATH|GO[A-Z0-9]+|\w+_PROXY|SSL_CERT_\w+", re.IGNORECASE)
    environment = {name: value for name, value in os.environ.items() if own.fullmatch(name)}
    done = subprocess.run([SCRIPT, file], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = Path(program["directory"])
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=made, check=True)
    assert {each.name for each in made.iterdir()} == {*program["commands"], "SHA256SUMS", "build.log"}
    for command in program["commands"]:
        # What a plugin says without a request.
        answer = subprocess.run([made / command, "--version"], capture_output=True, text=True, check=False)
        assert f"CNI {command} plugin v1.9.1" in answer.stdout + answer.stderr
    assert not (tmp_path / "program-source").exists()


@pytest.mark.long
def test_pinning_again_gives_the_same_pins(tmp_path: Path, distributions_go: None) -> None:
    """With the toolchain that hosts have."""
    loader = SourceFileLoader("provide", str(SCRIPT))
    spec = spec_from_loader("provide", loader)
    assert spec is not None
    provide = module_from_spec(spec)
    loader.exec_module(provide)
    work = tmp_path / "work"
    (work / "tmp").mkdir(parents=True)
    go = provide.toolchain(work, TOOLCHAIN)
    environment = provide.environment(work, go, GOFLAGS="-modcacherw")
    (tmp_path / "ci").mkdir()
    shutil.copy(ROOT / "ci" / "pin-go-modules", tmp_path / "ci")
    copy = tmp_path / "formulas" / "program" / "files" / "cni-plugins"
    shutil.copytree(PROGRAMS / "cni-plugins", copy)
    for name in ("go.mod", "go.sum"):
        (copy / "1.9.1" / name).unlink()
    pin = [sys.executable, tmp_path / "ci" / "pin-go-modules", "cni-plugins", "1.9.1"]
    subprocess.run(pin, env=environment, check=True)
    for name in ("go.mod", "go.sum"):
        assert (copy / "1.9.1" / name).read_bytes() == (PROGRAMS / "cni-plugins" / "1.9.1" / name).read_bytes()
