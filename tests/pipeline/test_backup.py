"""What a master backs up with commands of its own, brings back, and misses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pillarbox.pipeline.archives import OLD, Backups, Reason
from pillarbox.pipeline.backup import backup, overdue
from pillarbox.pipeline.hosts import HostOutcome, HostState
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import RunKind, Runs
from pillarbox.pipeline.restore import restore
from pillarbox.system.progress import Progress

REVISION = "a" * 40


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def progress(lines: list[str]) -> Progress:
    return Progress(sink=lines.append)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A master that serves a revision in which it backs up a file, and hosts bring back another thing by states."""
    found = Places(root=tmp_path / "srv", state=tmp_path / "state", repository=tmp_path / "model.git")
    found.ensure()
    data = tmp_path / "data"
    data.write_text("as it was")
    sources = {
        "file": {"command": ["cat", str(data)], "restore_command": ["sh", "-c", f"cat > {data}"]},
        "host": {"command": "echo of hosts", "restore_states": {"states": ["x.restore"], "hosts": "x:server"}},
    }
    serve(found, sources)
    return found


def serve(places: Places, sources: dict[str, Any]) -> None:
    nodes = places.published / REVISION / "nodes"
    for folder in (nodes, nodes.with_name("classes")):
        folder.mkdir(parents=True, exist_ok=True)
    master = {"salt": {"minion": {}, "master": {}}, "pillarbox": {"backup": {"source": sources}}}
    (nodes / "master.yml").write_text(yaml.safe_dump({"parameters": master}))
    (nodes / "one.yml").write_text(yaml.safe_dump({"parameters": {"salt": {"minion": {}}, "x": {"server": {}}}}))
    if not places.current.is_symlink():
        places.current.symlink_to(REVISION)


@pytest.fixture
def data(tmp_path: Path, places: Places) -> Path:
    return tmp_path / "data"


def test_there_and_back(places: Places, data: Path, progress: Progress, lines: list[str]) -> None:
    made = backup(places, by="ann", progress=progress)
    assert made.succeeded and made.kind is RunKind.BACKUP and made.revision == REVISION
    assert made.backup and set(made.backup["archives"]) == {"file", "host"}
    assert made.backup["id"] in made.as_text()
    assert Runs(places.runs).get(made.id).backup == made.backup, "the record says it as well"

    data.write_text("spoilt")
    trial = restore(places, "file", dry_run=True, progress=progress)
    assert trial.succeeded and data.read_text() == "spoilt"
    assert any(f"backup {made.backup['id']}" in line for line in lines)
    done = restore(places, "file", progress=progress)
    assert done.succeeded and data.read_text() == "as it was"
    assert done.backup and done.backup["reason"] == Reason.RESTORE

    # What was there before is a backup, too: the newest.
    undone = restore(places, "file", progress=progress)
    assert undone.succeeded and data.read_text() == "spoilt"
    assert restore(places, "file", made.backup["id"], progress=progress).succeeded
    assert data.read_text() == "as it was"


def test_what_is_lost_cannot_be_backed_up_and_is_brought_back(
    places: Places, data: Path, progress: Progress, lines: list[str]
) -> None:
    backup(places, ["file"], progress=progress)
    data.unlink()
    done = restore(places, "file", progress=progress)
    assert done.succeeded and data.read_text() == "as it was" and done.backup is None
    assert any("cannot be backed up, and is replaced" in line for line in lines)


def test_a_failure_fails_the_run_and_keeps_the_rest(places: Places, data: Path, progress: Progress) -> None:
    data.unlink()
    made = backup(places, progress=progress)
    assert not made.succeeded and "No such file" in made.error
    assert [list(each.archives) for each in Backups(places.backups)] == [["host"]]
    assert "NOT MADE  file" in made.as_text()


def test_names_that_the_model_does_not_have_are_told(places: Places, progress: Progress) -> None:
    for done in (backup(places, ["fil"], progress=progress), restore(places, "fil", progress=progress)):
        assert not done.succeeded and "does not say how to back up fil" in done.error and "file, host" in done.error
    done = restore(places, "file", progress=progress)
    assert not done.succeeded and "no backup of file" in done.error


def test_hosts_bring_back_by_their_states(places: Places, progress: Progress) -> None:
    backup(places, progress=progress)
    asked = list[Any]()

    def apply(
        hosts: Sequence[str], states: Sequence[str], content: Iterable[bytes], name: str, *, progress: Progress
    ) -> dict[str, HostOutcome]:
        asked.append((tuple(hosts), tuple(states), b"".join(content), name))
        return {"one": HostOutcome(states_apply)}

    states_apply = HostState.APPLIED
    done = restore(places, "host", hosts=apply, progress=progress)
    assert done.succeeded and asked == [(("one",), ("x.restore",), b"of hosts\n", "host")]
    assert done.hosts == {"one": "states applied"}
    states_apply = HostState.FAILED
    done = restore(places, "host", hosts=apply, progress=progress)
    assert not done.succeeded and "not back on every host" in done.error


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"a": {"command": "true"}}, "either restore_command or restore_states"),
        ({"a": {"restore_command": "true"}}, "expected command"),
        ({"../a": {"command": "true", "restore_command": "true"}}, "expected a name of lower-case letters"),
    ],
)
def test_mistakes_of_the_model_are_told(places: Places, sources: Any, expected: str, progress: Progress) -> None:
    serve(places, sources)
    done = backup(places, progress=progress)
    assert not done.succeeded and expected in done.error and "nodes/master.yml" in done.error


def age(places: Places, name: str, by: timedelta) -> None:
    """Have all backups, or all runs, been made earlier."""
    for record in (places.state / name).glob("*/*.json"):
        known = json.loads(record.read_text())
        if name == "backups":
            known["made"] = (datetime.fromisoformat(known["made"]) - by).isoformat()
        else:
            known["_at"] = [known["_at"][0] - by.total_seconds(), known["_at"][1]]
        record.write_text(json.dumps(known))


def test_what_was_not_backed_up_for_a_day_is_overdue(places: Places, progress: Progress) -> None:
    assert list(overdue(places)) == [], "nothing was deployed yet"
    Runs(places.runs).start(RunKind.DEPLOY, REVISION, "ann")
    assert list(overdue(places)) == []
    age(places, "runs", OLD + timedelta(hours=1))
    assert {each.name: each.detail for each in overdue(places)} == dict.fromkeys(
        ("file", "host"), "it was never backed up"
    )
    made = backup(places, progress=progress)
    assert list(overdue(places)) == [] and made.backup
    age(places, "backups", OLD + timedelta(hours=1))
    found = {each.name: each.detail for each in overdue(places)}
    assert found["file"] == f"its newest backup is 27 hours old: {made.backup['id']}"
