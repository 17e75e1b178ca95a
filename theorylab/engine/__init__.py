"""The engine: one driver that runs every method, alone or in sweeps, and knows no room.

Import from here. Modules of a plain name hold the words that describe a run: methods, records, rules, keys, statuses.
How it is run (`_run`), many times (`_sweep`), and kept (`_disk`) is private, with all that is in those folders.
"""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
