"""Faults done to whole runs, by the hundred: `python -m soak`."""
