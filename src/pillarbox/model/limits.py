"""Bounds that keep malformed input from taking all time or memory."""

FILE_BYTES = 32 << 20
"""The largest model file that is read."""

FOLDERS = 100_000
"""How many directories a tree may have, counted once for each way that leads to them."""

FILES = 500_000
"""The same for the files of a git revision."""

DEPTH = 100
"""How deep mappings and lists may nest, in a file and in a rendered value."""

VALUES = 4_000_000
"""How many values a file or a node may hold once every alias and reference is written out."""

WORK = 1_000_000_000
"""How many values one node's references may put together in all, those of every step counted. Layers that refer to each
other, or to what they stand in, double with each step."""

STEP = 500
"""What a step counts beside its values."""

BITS = 14_000
"""How large a number may be; Python writes none out that is much larger."""

STRING = 32 << 20
"""How long a string may grow by references inside it."""
