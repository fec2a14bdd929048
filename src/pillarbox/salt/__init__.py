"""Salt loader modules: thin, each calls a room of Pillarbox.

Salt finds the folders ``pillar``, ``tops``, ``runners``, ``modules`` and ``engines`` here through the package's
``salt.loader`` entry point: whatever Python environment has Salt and Pillarbox has them.
"""

from __future__ import annotations

from pathlib import Path

from pillarbox.salt.noise import hush

#: States that the master orchestrates by, as a directory for its ``file_roots``.
ORCHESTRATIONS = Path(__file__).parent / "orchestrations"

# Before the loader that asks for this package loads anything.
hush()
