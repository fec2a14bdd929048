"""From files to plain values: directories and git trees, YAML 1.1, lines, settings."""
