"""The engine: one driver that runs every method, alone or in sweeps, and knows no room.

Users import from here, and rooms from modules of a plain name too. The folders with an underscore are the engine's own,
with all that is in them: how a run is run (`_run`), many times (`_sweep`), and kept (`_disk`).
"""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, unchecked=("minimise", "solve", "sweep"))
