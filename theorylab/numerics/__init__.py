"""Plain mathematics that knows nothing of the engine or the rooms."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
