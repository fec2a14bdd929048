"""Pillarbox: one git repository of reclass metadata, turned into a running cloud."""

__version__ = "0.1.0"
