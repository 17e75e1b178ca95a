"""What papers say again and again, said once: checks of claims, races of methods, tables of theory, figures."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, unchecked="all")
