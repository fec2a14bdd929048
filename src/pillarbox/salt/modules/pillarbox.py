"""Execution module of hosts: builds images on builder minions, and answers what states ask of the package."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import Any

from pillarbox.salt import ORCHESTRATIONS
from pillarbox.system import files, locks
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

__salt__: dict[str, Any] = {}
__opts__: dict[str, Any] = {}
__context__: dict[str, Any] = {}

#: The cost of a hash, as bcrypt counts it: about 4 ms.
_ROUNDS = 6
#: In the name of an account: what belongs to its password.
_DIGEST = "$digest"
_DAY = 86400.0


def orchestrations() -> str:
    """The directory with the orchestrations that the package brings, for a master's ``file_roots``."""
    return str(ORCHESTRATIONS)


def account(name: str, password: str) -> str:
    """``name`` with ``$digest`` in it replaced by eight letters and digits that belong to ``password`` and do not give
    it away, the same that an image's entrypoint makes of it: the name of an account that has this password, and no
    other. A name without stays as it is."""
    if _DIGEST not in name:
        return name
    return name.replace(_DIGEST, hashlib.pbkdf2_hmac("sha256", password.encode(), b"pillarbox", 100000, 4).hex())


def htpasswd(file: str, accounts: dict[str, str | dict[str, str]]) -> str:
    """What ``file`` says of ``accounts``, by name their password: a line for each, ``name:hash``, as Apache and nginx
    read them. One that has several passwords, by any names, is several accounts: ``$digest`` is in its name
    (:func:`account`).

    An account whose password is as before keeps its line. bcrypt takes the first 72 bytes of a password. Raises
    :class:`PillarboxError` for a name that would have to stand for two accounts.
    """
    import bcrypt

    passwords: dict[str, str] = {}
    for given, several in accounts.items():
        for each in [several] if isinstance(several, str) else dict.fromkeys(several.values()):
            name = account(given, each)
            if name in passwords:
                raise PillarboxError(
                    f"the account {given} has several passwords",
                    hint=f"Call it {given}-{_DIGEST}: one account for each.",
                )
            passwords[name] = each
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    known = {name: found.encode() for name, _, found in (line.partition(":") for line in lines)}
    text = ""
    for name, password in sorted(passwords.items()):
        taken = password.encode()[:72]
        # Checked at every request, and nobody guesses 32 random characters: a cheap hash is enough.
        same = name in known and bcrypt.checkpw(taken, known[name])
        text += f"{name}:{(known[name] if same else bcrypt.hashpw(taken, bcrypt.gensalt(_ROUNDS))).decode()}\n"
    return text


def renew_certificates() -> dict[str, Any]:
    """Write the certificates that the master has issued again, and restart or reload what uses them.

    A host asks for them by itself, twice a day: one that is near its end is issued again then. Returns the files that
    changed, the services, and what failed; with a return code of 1 if anything did.
    """
    from pillarbox.salt import renewal

    low = __salt__["state.show_lowstate"](queue=True)
    failed = [str(each) for each in low if not isinstance(each, dict)]
    changed: dict[str, str] = {}
    services: list[str] = []
    if not failed:
        for chunk in renewal.certificates(low):
            done = __salt__["state.low"](dict(chunk), queue=True)
            if not isinstance(done, dict) or done["result"] is False:
                failed.append(f"{chunk['name']}: {done['comment'] if isinstance(done, dict) else done}")
            elif done["changes"]:
                changed[chunk["__id__"]] = chunk["name"]
        for chunk in renewal.users(low, set(changed)):
            # What is not running takes them up when it starts.
            if __salt__["service.status"](chunk["name"]):
                again = "service.reload" if chunk.get("reload") else "service.restart"
                services.append(chunk["name"])
                if not __salt__[again](chunk["name"]):
                    failed.append(f"{chunk['name']}: {again} failed")
    # Of a single state Salt's own function sets a code that says nothing.
    __context__["retcode"] = int(bool(failed))
    return {"changed": sorted(changed.values()), "services": services, "failed": failed}


def build_images(
    shares: dict[str, list[dict[str, Any]]], tree: str, source: str, revision: str, tag: str, parallel: int
) -> dict[str, dict[str, Any]]:
    """Build the images that ``shares`` has for this minion, ``parallel`` at a time, and push them.

    Returns by image what :func:`pillarbox.salt.share.to_return` says. ``tree`` is the revision's directory of formulas
    where builder and master are one machine; elsewhere it is fetched from ``source``. Progress goes to the master's
    bus under ``tag``.
    """
    # Every job of a minion loads this module; what builds images is loaded where images are built.
    from pillarbox.images.builder import PATIENCE
    from pillarbox.images.plan import Results, build_all
    from pillarbox.salt import share
    from pillarbox.system.engine import Engine
    from pillarbox.system.waiting import Patience

    specs = [share.from_data(data) for data in shares.get(__opts__["id"], ())]
    if not specs:
        return {}
    # Taken here: builds run in threads of their own, which do not see the loader's dunders.
    send = __salt__["event.send"]
    # The job's own clock says little between the lines of other builders: the master puts its time in front. In a
    # silence the builder, who knows more, speaks before the master does.
    progress = Progress(sink=lambda line: send(tag, {"line": line.partition("] ")[2] or line}), silence=10)
    try:
        here = Path(tree) if Path(tree).is_dir() else _fetch(source, revision)
        engine = Engine(patience=Patience(PATIENCE, progress.step))
        results = build_all(specs, here, engine=engine, progress=progress, parallel=parallel, revision=revision)
    except PillarboxError as error:
        progress.step(f"failed: {error}")
        results = Results({}, {spec.name: error for spec in specs})
    if results.failed:
        __context__["retcode"] = 1
    return share.to_return(results)


def clear_images(names: list[str], prefixes: list[str], dry_run: bool = False) -> list[str]:
    """Have this minion's engine forget the images whose names begin with one of ``prefixes`` and are not in ``names``.

    Returns the names that went, or with ``dry_run`` would go. One that a container uses stays. Base images that were
    being made a day ago, by builds that were ended, go as well.
    """
    from pillarbox.images.store import Store
    from pillarbox.system.engine import Engine

    engine = Engine()
    old = [name for prefix in prefixes for name in engine.names(prefix) if name not in set(names)]
    if dry_run:
        return old
    Store().sweep("base", _DAY)
    return [name for name in old if engine.forget(name)]


def _extract(archive: tarfile.TarFile, target: Path) -> None:
    """Unpack files and directories, and nothing that leads out of ``target``; tarfile's own filters are newer than
    Debian 12's Python."""
    for member in archive:
        path = (target / member.name).resolve()
        if not (member.isfile() or member.isdir()) or not path.is_relative_to(target.resolve()):
            raise PillarboxError(f"the tree from the master holds {member.name}, which is no file or leads out of it")
        archive.extract(member, target)


def _fetch(source: str, revision: str) -> Path:
    root = Path(__opts__["cachedir"]) / "pillarbox"
    root.mkdir(parents=True, exist_ok=True)
    target = root / revision
    with locks.held(root / "lock"):
        if target.is_dir():
            return target
        packed = __salt__["cp.get_file"](source, str(root / "tree.tar.gz"))
        if not packed:
            raise PillarboxError(f"the master does not serve {source}", hint="Is the staging directory in file_roots?")
        for old in root.iterdir():
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
        with files.making(target, mode=0o700) as scratch, tarfile.open(packed) as archive:
            _extract(archive, scratch)
    return target
