"""Low-rank adapters: put on any model, their gradient flow exactly, and what theory says of it."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
