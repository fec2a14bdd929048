"""Run in a process of its own, because Salt changes the one that it is imported into.

Reads minion options and the highstate's SLS names from standard input (JSON), and writes Salt's low state and, by name
of the file on the host, what each file from a source under ``salt://`` would hold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import salt.client
import salt.config


def main() -> None:
    given = json.load(sys.stdin)
    options = salt.config.minion_config(None)
    options.update(given["options"])
    caller = salt.client.Caller(mopts=options)
    low: list[Any] = caller.cmd("state.show_low_sls", ",".join(given["sls"]))
    files = {}
    for chunk in low:
        source = str(chunk.get("source", "")) if isinstance(chunk, dict) else ""
        if not source.startswith("salt://") or chunk["state"] != "file" or chunk["fun"] != "managed":
            continue
        # Of another environment: no file of a formula.
        if "?saltenv=" in source:
            continue
        text = Path(given["formulas"], source.removeprefix("salt://")).read_text()
        if chunk.get("template"):
            arguments = (text, chunk["template"], chunk.get("context"), {}, "base")
            text = caller.cmd("file.apply_template_on_contents", *arguments)
        files[chunk["name"]] = text
    json.dump({"low": low, "files": files}, sys.__stdout__)


if __name__ == "__main__":
    sys.stdout = sys.stderr
    main()
