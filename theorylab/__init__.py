"""Machine-learning theory as a library: an algorithm as a fast JAX kernel, a theorem as code that predicts runs."""

from ._names import attach_stub, rooms

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, unchecked="all", folders=rooms())
