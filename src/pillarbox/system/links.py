"""Where the symbolic links of a tree lead, found without a file system."""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: As many links as Linux follows on the way to one file (path_resolution(7)).
MOST = 40


class LeadsOut(Exception):
    """A link leads out of its tree, or to a name that only a file system outside of it could have."""


class LeadsNowhere(Exception):
    """A link leads to itself, by however many others, or through what does not exist."""


def destination(path: str, links: Mapping[str, str], folders: Collection[str] | None = None) -> str:
    """The path that ``path`` leads to, every link on the way followed, from the tree's root (empty: the root itself).

    ``links`` has the target of every link of the tree by its path. Where ``folders`` (all that the tree has) are given,
    the way must lead through those; without, nothing need exist on it. Raises :class:`LeadsOut` and
    :class:`LeadsNowhere`.
    """
    reached: list[str] = []
    ahead = path.split("/")[::-1]
    followed = 0
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not reached:
                raise LeadsOut(path)
            reached.pop()
            continue
        reached.append(part)
        target = links.get("/".join(reached))
        if target is None:
            if ahead and folders is not None and "/".join(reached) not in folders:
                raise LeadsNowhere(path)
            continue
        followed += 1
        if followed > MOST:
            raise LeadsNowhere(path)
        if target.startswith("/"):
            raise LeadsOut(path)
        reached.pop()
        ahead += reversed(target.split("/"))
    return "/".join(reached)
