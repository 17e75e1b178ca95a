"""What papers on low-rank matrices state, paper by paper, as code: what we derive stands with the concepts."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
