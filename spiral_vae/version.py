"""The version of the package; the promise of bits is per version."""

__version__ = "0.2.0"
