"""What papers on diffusion state, as they state it: a module for each paper, beside what is derived here."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
