"""How the documentation is built: Sphinx with MyST, from packages alone; no page fetches anything from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import generate  # noqa: E402

project = "Pillarbox"
author = "The Pillarbox authors"
copyright = "The Pillarbox authors, Apache License 2.0"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]
html_theme = "furo"
html_title = "Pillarbox"
html_static_path: list[str] = []
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
# A console block is shown as it is: highlighters stumble over what programs print.
highlight_language = "none"
nitpicky = True


def setup(app: Any) -> None:
    """Make the reference pages before Sphinx looks for sources."""
    app.connect("config-inited", lambda *_: generate.write(HERE.parent, HERE / "generated"))
