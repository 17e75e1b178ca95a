"""Games and variational inequalities: finite sums of operators, orders that visit them, methods that solve them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
