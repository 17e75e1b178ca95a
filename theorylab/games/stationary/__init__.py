"""Where methods with constant steps settle: the stationary law of epochs, exactly where that is affordable."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
