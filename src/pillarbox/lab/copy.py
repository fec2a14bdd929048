"""The lab's own copy of the model: the source's files with this lab's secrets, until somebody pushes something else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pillarbox.lab import digest
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import git
from pillarbox.system.yaml_text import dump

_IDENTITY = ("Pillarbox lab", "lab@localhost")
# What a deployment's repository holds of a checkout; the program itself is installed, not pushed.
PARTS = ("classes", "nodes", "formulas", "images", "manifests", "ci", "setup.cfg", "README.md", "reclass-config.yml")


def files(source: Path) -> list[Path]:
    """The files of the model in ``source``: git's, where it is a git work tree, else all of them."""
    if not (source / "nodes").is_dir():
        raise LabError(f"no model in {source}: expected nodes/ and classes/ there", hint="Name it with --model.")
    return listed(source, PARTS)


def listed(base: Path, parts: tuple[str, ...]) -> list[Path]:
    """The files in ``parts`` of ``base``: those that git knows or would add, or all of them where there is no git."""
    found = git.listed(base, *parts)
    if found:
        return found
    plain = [base / part for part in parts if (base / part).is_file()]
    for part in parts:
        if (base / part).is_dir():
            plain += [each for each in (base / part).rglob("*") if each.is_file() and "__pycache__" not in each.parts]
    return sorted(plain)


def place(settings: LabSettings) -> Path:
    """Where the lab's model is to be read: the source, until something was pushed; then the copy of that."""
    return settings.model if _followed(settings).is_file() else settings.source


def repair(settings: LabSettings) -> None:
    """Make the copy whole again, which a run that was killed may have left half-written."""
    if _followed(settings).is_file():
        (settings.model / ".git" / "index.lock").unlink(missing_ok=True)
        git.run(settings.model, "reset", "--quiet", "--hard", "HEAD")


def followed(settings: LabSettings) -> None:
    """Note that from now on the repository on the master is the truth."""
    _followed(settings).write_text("")


def _followed(settings: LabSettings) -> Path:
    return settings.state / "pushed"


def refresh(
    settings: LabSettings,
    public_key: str,
    render: Callable[[Path], None],
    generate: Callable[[Path, str], object],
) -> bool:
    """Make the copy what the source is now, with secrets for the holder of ``public_key``; whether anything changed.

    For a lab that nobody has pushed to. Secrets that were made for this key stay as they are; ``generate`` makes new
    ones in a model for a public key. ``render`` brings what is rendered from the model, and committed beside it, up to
    date.
    """
    kept = _secrets(settings.model)
    _take(settings)
    _renew(settings, kept, public_key, generate)
    render(settings.model)
    return commit(settings, "The model of this lab")


def overlay(
    settings: LabSettings,
    public_key: str,
    render: Callable[[Path], None],
    generate: Callable[[Path, str], object],
) -> bool:
    """Commit what the source is now on top of what was pushed; whether anything changed. Secrets stay as they are, and
    those that only the source asks for join them, made as :func:`refresh` makes them."""
    kept = _secrets(settings.model)
    _take(settings)
    if any(_asked(text).keys() - _asked(kept.get(name, "")).keys() for name, text in _secrets(settings.model).items()):
        generate(settings.model, public_key)
    for name, text in kept.items():
        _join(settings.model / name, text)
    render(settings.model)
    return commit(settings, f"The model of {settings.source}")


def _take(settings: LabSettings) -> None:
    copy = settings.model
    copy.mkdir(parents=True, exist_ok=True)
    wanted = {file.relative_to(settings.source): file for file in files(settings.source)}
    for old in _present(copy):
        if old.relative_to(copy) not in wanted:
            old.unlink()
    for name, file in wanted.items():
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target, follow_symlinks=False)


def commit(settings: LabSettings, message: str) -> bool:
    """Commit whatever changed in the copy; whether there was anything."""
    copy = settings.model
    if not (copy / ".git" / "HEAD").is_file():
        git.run(copy, "init", "--quiet", "--initial-branch=main")
    # A run that was killed may have left git's lock; nobody else works here, for we hold the lab's.
    (copy / ".git" / "index.lock").unlink(missing_ok=True)
    git.run(copy, "add", "--all", "--force")
    if git.head(copy) and not git.run(copy, "status", "--porcelain").strip():
        return False
    git.run(copy, "commit", "--quiet", "--message", message, identity=_IDENTITY)
    return True


def _present(copy: Path) -> list[Path]:
    return [each for each in copy.rglob("*") if each.is_file() and ".git" not in each.relative_to(copy).parts]


def _secrets(model: Path) -> dict[Path, str]:
    return {file.relative_to(model): file.read_text() for file in model.glob("classes/cluster/*/secrets.yml")}


def _renew(
    settings: LabSettings, kept: dict[Path, str], public_key: str, generate: Callable[[Path, str], object]
) -> None:
    """Put the kept secrets back, and make new ones where the key or what is asked for has changed."""
    copy, mark = settings.model, settings.state / "secrets.key"
    key = digest.of_text(public_key)
    asked = {name: _asked(text) for name, text in _secrets(copy).items()}
    same_key = mark.is_file() and mark.read_text().strip() == key
    if same_key and asked == {name: _asked(text) for name, text in kept.items()}:
        for name, text in kept.items():
            (copy / name).write_text(text)
        return
    mark.unlink(missing_ok=True)
    generate(copy, public_key)
    if same_key:
        for name, text in kept.items():
            _carry_over(copy / name, text)
    mark.write_text(f"{key}\n")


def _join(file: Path, kept: str) -> None:
    """Make the file what it was before, with the secrets beside that only it asks for now."""
    asked = _asked(file.read_text()) if file.is_file() else {}
    if _asked(kept) | asked == _asked(kept):
        file.write_text(kept)
        return
    document, before = yaml.safe_load(file.read_text()), yaml.safe_load(kept)["parameters"]
    parameters = document["parameters"]
    parameters["_secret"] = before.get("_secret", {}) | asked
    parameters["_param"] |= before.get("_param", {})
    file.write_text(dump(document))


def _carry_over(file: Path, kept: str) -> None:
    """Give the new file the values that the kept one has: services run with them."""
    if not file.is_file():
        return
    text = file.read_text()
    document, before = yaml.safe_load(text), (yaml.safe_load(kept) or {}).get("parameters") or {}
    values = document["parameters"]["_param"]
    values |= {name: block for name, block in (before.get("_param") or {}).items() if name in values}
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    file.write_text(header + dump(document))


def _asked(text: str) -> dict[str, Any]:
    parameters = (yaml.safe_load(text) or {}).get("parameters") or {}
    return parameters.get("_secret") or {}
