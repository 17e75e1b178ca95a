"""Data sets from their official sources: a checksum each, a cache, and root= for files that are there already."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
