"""Configs of the package: `base` holds every field, the others state how they differ."""
