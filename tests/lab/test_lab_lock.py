"""Two commands at once: the second says so and stops; one that was killed is in nobody's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pillarbox.lab import lock
from pillarbox.lab.errors import LabError

HOLDER = """
import sys, time
from pathlib import Path
from pillarbox.lab import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_is_told_who_holds_it_and_a_killed_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "lab"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(LabError, match=rf"process {holder.pid}\b.*lab x"), lock.held(path, what="lab x"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with lock.held(path):
        assert path.read_text().strip() == str(os.getpid())
