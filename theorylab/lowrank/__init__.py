"""Low-rank matrices by their factors: measurements, robust recovery, and its theory."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
