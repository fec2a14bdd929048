"""How a service comes to its database: the administrator's process, on the running server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.story.lab import Lab
from tests.story.test_story import workloads

pytestmark = pytest.mark.lab

POD, NAME, PASSWORDS = "mariadb-server-0", "pillarbox_test", ("one", "two' \\")


def in_pod(lab: Lab, *command: str) -> tuple[int, str]:
    done = lab.kubectl("exec", POD, "--", *command, check=False)
    return done.returncode, done.stdout + done.stderr


def as_root(lab: Lab, statement: str) -> str:
    code, said = in_pod(
        lab, "mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "--batch", "--skip-column-names",
        f"--execute={statement}",
    )  # fmt: skip
    assert code == 0
    return said


def ensure(lab: Lab, password: str, host: str = "%") -> list[str]:
    """What the Job of a service runs; the lines that it says."""
    account = (f"DATABASE_USER={NAME}", f"DATABASE_HOST={host}")
    variables = (f"DATABASE_NAME={NAME}", f"DATABASE_PASSWORD={password}", *account)
    code, said = in_pod(lab, "env", *variables, "/entrypoint.d/database")
    assert code == 0
    return said.splitlines()


def answers(lab: Lab, password: str, statement: str) -> bool:
    """Whether the account may do this, over the network."""
    return not in_pod(
        lab, "env", f"MYSQL_PWD={password}", "sh", "-c",
        f"mariadb --no-defaults --host=$MARIADB_SERVER_SERVICE_HOST --user={NAME} --execute='{statement}'",
    )[0]  # fmt: skip


@pytest.fixture
def database(lab: Lab) -> Iterator[str]:
    yield NAME
    for (host,) in [
        line.split() for line in as_root(lab, f"SELECT Host FROM mysql.user WHERE User = '{NAME}'").splitlines()
    ]:
        as_root(lab, f"DROP USER '{NAME}'@'{host}'")
    as_root(lab, f"DROP DATABASE IF EXISTS {NAME}")


def test_an_account_is_made_once_and_put_right(lab: Lab, database: str) -> None:
    before = workloads(lab)["mariadb-server"]
    first, second = PASSWORDS
    assert ensure(lab, first) == [f"database: database {NAME} made", f"database: account {NAME} may come from %"]
    assert ensure(lab, first) == []
    assert answers(lab, first, f"CREATE TABLE {NAME}.t (i INT)")
    assert not answers(lab, first, "CREATE DATABASE pillarboxXtest")
    assert not answers(lab, first, "SELECT 1 FROM keystone.user")

    assert ensure(lab, second) == [f"database: password of {NAME} changed"]
    assert not answers(lab, first, "SELECT 1")
    assert answers(lab, second, f"DROP TABLE {NAME}.t")

    nowhere = "192.0.2.1"
    said = ensure(lab, second, nowhere)
    assert said == [
        f"database: account {NAME} may come from {nowhere}",
        f"database: account {NAME} may no longer come from %",
    ]
    assert not answers(lab, second, "SELECT 1")
    assert workloads(lab)["mariadb-server"] == before


def test_what_is_missing_is_named_and_no_password_shown(lab: Lab) -> None:
    code, said = in_pod(lab, "env", f"DATABASE_NAME={NAME}", "/entrypoint.d/database")
    assert code != 0
    assert "DATABASE_PASSWORD is not set" in said
    code, said = in_pod(
        lab,
        "env",
        f"DATABASE_NAME={NAME}",
        "DATABASE_PASSWORD=secret",
        "DATABASE_ENCODING=none",
        "/entrypoint.d/database",
    )
    assert code != 0
    assert "none" in said
    assert "secret" not in said
