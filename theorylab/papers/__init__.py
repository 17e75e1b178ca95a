"""One short file per paper: its citation, its claims, and the experiments that decide them."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, unchecked="all")
