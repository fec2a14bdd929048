"""Hosts as containers on one machine: the embedded default. Knows the model and the container engine, nothing else."""
