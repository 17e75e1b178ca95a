"""`python -m theorylab` is `theorylab`."""

import sys

from theorylab.cli import main

if __name__ == "__main__":
    sys.exit(main())
