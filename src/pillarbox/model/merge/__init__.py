"""From plain values to a node: layers, references, queries, errors."""
