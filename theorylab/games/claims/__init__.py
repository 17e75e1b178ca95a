"""What papers on games state, one module a paper; what is derived here stands with its concept."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
