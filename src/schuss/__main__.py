"""python -m schuss."""

from schuss.cli import main

main()
