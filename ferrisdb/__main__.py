"""`python -m ferrisdb` is the shell."""

import sys

from ferrisdb.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
