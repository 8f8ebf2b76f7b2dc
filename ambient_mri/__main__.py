"""`python -m ambient_mri …`, the form that torchrun needs."""

import sys

from ambient_mri.cli import main

if __name__ == "__main__":
    sys.exit(main())
