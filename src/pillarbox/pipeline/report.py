"""A run's record as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pillarbox.system.progress import elapsed

if TYPE_CHECKING:
    from pillarbox.pipeline.record import ImageRecord, Run


def render(run: Run) -> str:
    """The report of a run, as text."""
    known = run.as_dict()
    lines = [
        f"{run.kind} {run.id}: {run.state.upper()} after {elapsed(known['seconds'])}",
        f"  asked by   {run.by or 'unknown'}",
        f"  revision   {run.revision[:12]}{'  ' + run.subject if run.subject else ''}",
        f"  started    {known['started']}",
    ]
    if run.dry_run:
        lines.append("  dry run    nothing was written")
    lines += _images(run.images)
    lines += _backup(run.backup or {})
    lines += _hosts(run.hosts)
    lines += _rollout(run.rollout or {})
    lines += [f"  note       {note}" for note in run.notes]
    if run.durations:
        lines.append("  steps")
        lines += [f"    {elapsed(seconds):>7}  {name}" for name, seconds in run.durations.items()]
    if run.error:
        lines.append("  error")
        lines += [f"    {line}" for line in run.error.splitlines()]
    return "\n".join(lines) + "\n"


def _images(images: Sequence[ImageRecord]) -> list[str]:
    built = [item for item in images if item.state == "built"]
    failed = [item for item in images if item.state == "failed"]
    lines = []
    if built:
        lines.append(f"  built      {len(built)} of {len(images)} images")
        lines += [f"    {elapsed(item.seconds):>7}  {item.name}{_size(item)}  {item.digest[:19]}" for item in built]
    elif images and not failed:
        lines.append(f"  built      nothing: all {len(images)} images were in the registry")
    if failed:
        lines.append("  not built")
        for item in failed:
            first, *rest = item.error.splitlines() or [""]
            lines.append(f"    {item.name}: {first.removeprefix(item.name + ': ')}")
            lines += [f"      {line.strip()}" for line in rest]
    return lines


def _size(item: ImageRecord) -> str:
    sizes = [
        f"{size / 1e6:.0f} MB {word}".strip() for size, word in ((item.size, ""), (item.pushed_size, "pushed")) if size
    ]
    return f"  ({', '.join(sizes)})" if sizes else ""


def _backup(backup: Mapping[str, Any]) -> list[str]:
    if not backup:
        return []
    lines = [f"  backup     {backup['id']}"]
    lines += [f"    {each['packed'] / 1e6:.2f} MB  {name}" for name, each in sorted(backup["archives"].items())]
    lines += [f"    NOT MADE  {name}: {why}" for name, why in sorted(backup["failed"].items())]
    return lines


def _hosts(hosts: Mapping[str, Any]) -> list[str]:
    if not hosts:
        return []
    lines = ["  hosts"]
    for name, result in sorted(hosts.items()):
        lines.append(f"    {name}: {result}")
    return lines


def _rollout(rollout: Mapping[str, Any]) -> list[str]:
    if not rollout:
        return []
    steps = rollout.get("steps") or []
    groups: list[tuple[str, list[str]]] = [
        (
            "rolled",
            [
                f"{elapsed(step['seconds']):>7}  {_object(step)}"
                for step in steps
                if step["rolls"] and step["result"] == "ok" and step["action"] != "unchanged"
            ],
        ),
        (
            "changed",
            [
                f"{step['action']:>7}  {_object(step)}"
                for step in steps
                if step["result"] == "ok" and step["action"] not in ("unchanged",) and not step["rolls"]
            ],
        ),
        (
            "rolled back",
            [f"{_object(step)}: {step.get('reason', '')}" for step in steps if step["result"] == "rolled back"],
        ),
        (
            "taken from others",
            [f"{_object(step)}: {', '.join(step['taken'])}" for step in steps if step.get("taken")],
        ),
        ("not reached", [_object(step) for step in steps if step["result"] == "not reached"]),
        ("kept", [f"{item['object']}: not in the model, {item['reason']}" for item in rollout.get("kept") or ()]),
    ]
    lines = []
    for title, items in groups:
        if items:
            lines.append(f"  {title}")
            lines += [f"    {item}" for item in items]
    alone = [step for step in steps if step["action"] == "unchanged" and step["result"] == "ok"]
    if alone:
        names = sorted(step["name"] for step in alone if step.get("runs_pods"))
        running = f"; with pods: {', '.join(names)}" if names else ""
        lines.append(f"  left alone {len(alone)} objects{running}")
    for step in steps:
        if step["result"] == "failed":
            lines.append(f"  UNHEALTHY  {_object(step)}: {step.get('reason', '')}")
            lines += [f"    | {line}" for line in (step.get("log") or "").splitlines()]
    return lines


def _object(step: Mapping[str, Any]) -> str:
    # What the model no longer has goes after all waves.
    wave = "" if step["action"] == "delete" else f"  (wave {step['wave']})"
    return f"{step['kind']} {step['namespace'] + '/' if step['namespace'] else ''}{step['name']}{wave}"
