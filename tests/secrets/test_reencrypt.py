"""The master's key is rotated: every block opens with the new one, says what it said, and nothing else changes."""

from __future__ import annotations

import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests import gnupg

from pillarbox.cli.secrets import command
from pillarbox.secrets import Keyring, SecretsError, generate, reencrypt
from pillarbox.system import gpg

WriteModel = Callable[[dict[str, str]], Path]
SECRETS = "parameters:\n  _secret:\n    one: {kind: password}\n    two: {kind: aes}\n"
CLEAR = 'by hand: pa\'ss "$word" ü\nsecond line\n'


@pytest.fixture(scope="module")
def homes() -> Iterator[tuple[Path, Path]]:
    """The directory with the key of a master, and one with its next key."""
    with gnupg.keyring("old") as old, gnupg.keyring("new") as new:
        yield old, new


def block(home: Path, text: str = CLEAR, margin: str = "      ") -> str:
    """As it stands in a file."""
    armor = gpg.encrypt(home, gpg.import_key(home, gnupg.armored(home)), text)
    return textwrap.indent(armor, margin)


@pytest.fixture
def model(write_model: WriteModel, homes: tuple[Path, Path]) -> Path:
    old, _ = homes
    by_hand = f"# By hand, and with a remark.\nparameters:\n  web:\n    key: |   # why\n{block(old)}    other: 'x'\n"
    within = (
        f"parameters:\n  url: |\n    mysql://u:{block(old, 'word', '    ').strip()}@db\n  list:\n  - |\n{block(old)}"
    )
    written = write_model(
        {
            "classes/cluster/a/secrets.yml": SECRETS,
            "classes/web.yml": by_hand,
            "classes/plain.yml": "parameters: {}   # as it was\n",
            "nodes/n.yml": within,
        }
    )
    generate(written, gnupg.armored(old))
    return written


def said(model: Path, home: Path) -> dict[str, object]:
    """What the files say, opened with the key in ``home``."""

    def opened(data: object) -> object:
        if isinstance(data, str):
            return Keyring(home).open(data)
        if isinstance(data, dict):
            return {key: opened(value) for key, value in data.items()}
        return [opened(each) for each in data] if isinstance(data, list) else data

    return {file.name: opened(yaml.safe_load(file.read_text())) for file in sorted(model.rglob("*.yml"))}


def outside_blocks(file: Path) -> list[str]:
    lines, inside = [], False
    for line in file.read_text().splitlines():
        inside = inside or gpg.BEGIN in line
        if not inside:
            lines.append(line)
        inside = inside and gpg.END not in line
    return lines


def test_every_block_opens_with_the_new_key_only(model: Path, homes: tuple[Path, Path]) -> None:
    old, new = homes
    before, around = said(model, old), {file: outside_blocks(file) for file in model.rglob("*.yml")}
    plain = (model / "classes/plain.yml").stat().st_mtime_ns
    assert {file.name for file in reencrypt(model, gnupg.armored(new), Keyring(old))} == {
        "secrets.yml",
        "web.yml",
        "n.yml",
    }
    assert said(model, new) == before
    assert {file: outside_blocks(file) for file in model.rglob("*.yml")} == around
    assert (model / "classes/plain.yml").stat().st_mtime_ns == plain
    for file in around:
        for _, text in gpg.blocks(yaml.safe_load(file.read_text())):
            with pytest.raises(gpg.GpgError, match="No secret key"):
                Keyring(old).open(text)
    # And back again, as where the wrong key was taken.
    reencrypt(model, gnupg.armored(old), Keyring(new))
    assert said(model, old) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("parameters:\n  a: {escaped}\n", r"classes/wrong\.yml:2: a block is not written as a literal"),
        ("parameters:\n  a: |\n{foreign}", r"classes/wrong\.yml:3: a block cannot be opened: (?s:.*)No secret key"),
        ("parameters:\n  a: |\n{cut}", r"classes/wrong\.yml:3: a block"),
        ("parameters:\n  a: >\n{folded}", r"classes/wrong\.yml: a block is not written as a literal"),
    ],
)
def test_where_one_block_cannot_be_written_none_is(
    model: Path, homes: tuple[Path, Path], wrong: str, message: str
) -> None:
    old, new = homes
    own = block(old, margin="")
    with gnupg.keyring("another") as another:
        foreign = block(another, margin="    ")
    (model / "classes/wrong.yml").write_text(
        wrong.format(
            escaped='"' + own.replace("\n", "\\n") + '"',
            foreign=foreign,
            cut=textwrap.indent(own.partition("-----END")[0], "    "),
            folded=textwrap.indent(own, "    "),
        )
    )
    before = {file: file.read_text() for file in model.rglob("*.yml")}
    with pytest.raises(SecretsError, match=message):
        reencrypt(model, gnupg.armored(new), Keyring(old))
    assert {file: file.read_text() for file in model.rglob("*.yml")} == before


def test_a_pusher_has_nothing_written_through_a_link(
    model: Path, homes: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    old, new = homes
    outside = tmp_path_factory.mktemp("outside") / "file.yml"
    outside.write_text((model / "classes/web.yml").read_text())
    (model / "classes/link.yml").symlink_to(outside)
    with pytest.raises(SecretsError, match=r"classes/link\.yml: the file lies outside the model"):
        reencrypt(model, gnupg.armored(new), Keyring(old))
    # One within the model is another name of the same file.
    (model / "classes/link.yml").unlink()
    (model / "classes/link.yml").symlink_to("web.yml")
    reencrypt(model, gnupg.armored(new), Keyring(old))
    assert (model / "classes/link.yml").is_symlink() and said(model, new)["link.yml"] == said(model, new)["web.yml"]


def test_the_command(model: Path, homes: tuple[Path, Path]) -> None:
    old, new = homes
    arguments = ["reencrypt", "--public-key", "-", "--gpg-home", str(old)]
    done = CliRunner().invoke(command, arguments, input=gnupg.armored(new), obj=model)
    assert done.exit_code == 0, done.output
    assert done.output.count("wrote ") == 3 and "classes/web.yml: encrypting 1 secrets" in done.output
    both = gnupg.armored(old) + gnupg.armored(new)
    done = CliRunner().invoke(command, arguments, input=both, obj=model)
    assert isinstance(done.exception, gpg.GpgError) and "expected one public key, found 2" in str(done.exception)


def test_the_master_makes_a_new_key_beside_the_old_one(repository: Path, tmp_path: Path) -> None:
    with gnupg.keyring("of somebody else") as home:
        script = tmp_path / "bootstrap"
        script.write_text((repository / "ci/bootstrap").read_text().replace("/etc/salt/gpgkeys", str(home)))

        def key(*arguments: str) -> str:
            done = subprocess.run(["sh", script, "key", *arguments], capture_output=True, text=True, check=True)
            with tempfile.TemporaryDirectory(prefix="gpg-") as scratch:
                return gpg.import_key(Path(scratch), done.stdout)

        first = key()
        assert key() == first
        second = key("new")
        assert key() == second != first
        remove = ("gpg", "--homedir", home, "--batch", "--yes", "--delete-secret-and-public-key")
        subprocess.run([*remove, first], check=True)
        assert key() == second
        assert subprocess.run(["sh", script, "key", "newer"], capture_output=True).returncode == 2
