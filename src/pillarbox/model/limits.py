"""Bounds that keep malformed input from taking all time or memory."""

FILE_BYTES = 32 << 20
"""The largest model file that is read."""

DEPTH = 100
"""How deep mappings and lists may nest, in a file and in a rendered value."""

VALUES = 4_000_000
"""How many values a file or a node may hold once every alias and reference is written out."""

STRING = 32 << 20
"""How long a string may grow by references inside it."""
