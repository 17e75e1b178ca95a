"""One style for every figure: the prediction dashed, the measurement solid, its error a band."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
