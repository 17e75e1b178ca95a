"""Data sets from their official sources: a checksum each, a cache, and root= for files that are there already."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
