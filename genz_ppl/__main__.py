"""`python -m genz_ppl`: the `genz` command."""

from __future__ import annotations

from genz_ppl.cli.app import main

if __name__ == "__main__":
    main()
