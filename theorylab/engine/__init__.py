"""The engine: one driver that runs every method, alone or in sweeps, and knows no room."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, unchecked=("minimise", "solve", "sweep"))
