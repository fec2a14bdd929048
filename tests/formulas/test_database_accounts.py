"""What the Jobs of the formula mariadb ask of a server, on a real one: Debian's, unpacked and not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import programs
from tests.controlplane import free_port

from pillarbox.system.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    *("mariadb-server", "mariadb-server-core", "mariadb-client-core", "mariadb-common", "mysql-common", "libmariadb3"),
    *("libaio1", "liburing2", "libnuma1", "libpmem1", "libndctl6", "libdaxctl1", "libsnappy1v5", "liblzo2-2"),
    "libncurses6",
)
ADMIN = "admin"
#: What a container starts the script as; the name says what it does.
PROCESSES = ("database", "retire", "administrator")


class Server:
    """A MariaDB server of the test's own, and the script with its settings."""

    def __init__(self, tree: Path, root: Path) -> None:
        self.root, self.port = root, free_port()
        library = tree / "usr/lib/x86_64-linux-gnu"
        path = f"{tree / 'usr/bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, "LD_LIBRARY_PATH": f"{library}:{tree / 'lib/x86_64-linux-gnu'}", "PATH": path}
        data = root / "data"
        data.mkdir()
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--basedir={tree / 'usr'}", f"--datadir={data}", "--user=root",
             "--auth-root-authentication-method=socket", "--auth-root-socket-user=root", "--skip-test-db"],
            env=self.environment, check=True, capture_output=True,
        )  # fmt: skip
        self.process = subprocess.Popen(
            [tree / "usr/sbin/mariadbd", "--no-defaults", f"--basedir={tree / 'usr'}", f"--datadir={data}",
             f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
             "--user=root", f"--plugin-dir={tree / 'usr/lib/mysql/plugin'}"],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        script = (ROOT / "formulas/mariadb/files/database").read_text()
        for name in PROCESSES:
            (root / name).write_text(script.replace("/etc/mysql/administrator.json", str(root / "administrator.json")))

    @property
    def socket(self) -> Path:
        return self.root / "s"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def as_root(self, statement: str) -> list[str]:
        command = ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "-N"]
        done = subprocess.run(command, input=statement, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def answers(self, user: str, password: str) -> bool:
        command = ["mariadb", "--no-defaults", "--protocol=tcp", f"--port={self.port}", "--host=127.0.0.1"]
        done = subprocess.run(
            [*command, f"--user={user}", "--execute=SELECT 1"],
            env={**self.environment, "MYSQL_PWD": password}, capture_output=True,
        )  # fmt: skip
        return done.returncode == 0

    def ask(self, process: str, admin: str, **variables: str) -> tuple[int, list[str]]:
        """Run a process as a Job does, with the administrator's password of the time; its exit code and lines."""
        settings = {"host": "127.0.0.1", "port": str(self.port), "user": ADMIN, "password": admin}
        (self.root / "administrator.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [sys.executable, "-I", self.root / process],
            env={**self.environment, **variables}, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tree = programs.debian_root(*PACKAGES)
    if tree is None or os.geteuid() != 0:
        pytest.skip("no MariaDB server of Debian 12 can be had here")
    # A socket has a short path.
    found = Server(tree, tmp_path_factory.mktemp("db"))
    try:
        assert until(found.socket.exists, "MariaDB to listen", patience=60)
        yield found
    finally:
        found.close()


@pytest.fixture
def administrator(server: Server) -> str:
    """The administrator, as the server's init file makes it; the password."""
    server.as_root(
        f"CREATE OR REPLACE USER '{ADMIN}'@'%' IDENTIFIED BY 'first';"
        f"GRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;"
    )
    return "first"


@pytest.fixture
def named() -> Callable[[str], str]:
    """The account that the entrypoint names in a service's configuration."""
    module: dict[str, object] = {"__name__": "entrypoint"}
    exec((ROOT / "images/entrypoint").read_text(), module)

    def name(password: str) -> str:
        fill = module["fill"]
        assert callable(fill)
        found: bytes = fill(b"nova-$digest:PASSWORD", {b"PASSWORD": password.encode()})
        return found.decode()

    return name


def test_a_password_is_replaced_while_both_are_valid(
    server: Server, administrator: str, named: Callable[[str], str]
) -> None:
    one, two = "one", "two' \\"
    for password in (one, two):
        variables = {"DATABASE_NAME": "nova", "DATABASE_PASSWORD": password}
        code, said = server.ask("database", administrator, **variables)
        assert (code, said[-1:]) == (0, [f"database: account {named(password)} may come from %"])
        assert server.ask("database", administrator, **variables) == (0, [])
    assert server.answers(named(one), one) and server.answers(named(two), two)

    # Others whose names begin alike, and what was there before accounts were named by their passwords.
    for other in ("nova", "nova-api", "nova_cell0-00000000"):
        server.as_root(f"CREATE USER '{other}'@'%'")
    code, said = server.ask("retire", administrator, DATABASE_NAME="nova", DATABASE_PASSWORD=two)
    assert (code, sorted(said)) == (0, ["retire: account nova dropped", f"retire: account {named(one)} dropped"])
    assert not server.answers(named(one), one) and server.answers(named(two), two)
    left = server.as_root("SELECT User FROM mysql.user WHERE User LIKE 'nova%' ORDER BY User")
    assert left == sorted(["nova-api", "nova_cell0-00000000", named(two)])


def test_the_administrator_comes_in_with_the_new_password_and_the_one_before(
    server: Server, administrator: str
) -> None:
    def let_in(current: str, before: str) -> tuple[int, list[str]]:
        return server.ask("administrator", current, MARIADB_ADMIN_PASSWORD_PREVIOUS=before)

    assert let_in("second", "first") == (0, [f"administrator: {ADMIN} comes in with the new password"])
    assert let_in("second", "first") == (0, [])
    assert server.answers(ADMIN, "second") and server.answers(ADMIN, "first")
    # Deployed again as it was before, the one before that being nobody's.
    assert let_in("first", "never")[0] == 0
    assert let_in("second", "first")[0] == 0
    assert let_in("third", "second")[0] == 0
    assert server.answers(ADMIN, "third") and server.answers(ADMIN, "second") and not server.answers(ADMIN, "first")
    assert server.ask("database", "third", DATABASE_NAME="x", DATABASE_PASSWORD="y")[0] == 0

    code, said = let_in("fifth", "fourth")
    assert code == 1
    assert "neither password lets admin in" in said[0] and "restart of the server" in said[0]
