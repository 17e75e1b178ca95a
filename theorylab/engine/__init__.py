"""The engine: one driver that runs every method, alone or in sweeps, and knows no room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
