"""What a run leaves behind: data, figures, and the table of claims."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, unchecked="all")
