"""Games and variational inequalities: finite sums of operators, orders that visit them, methods that solve them."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
