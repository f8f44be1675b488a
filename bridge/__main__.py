"""`python -m bridge` is `sipbridge`."""

from bridge.cli import main

main()
