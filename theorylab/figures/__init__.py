"""One style for every figure: the prediction dashed, the measurement solid, its error a band."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
