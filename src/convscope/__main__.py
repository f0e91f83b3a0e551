"""``python -m convscope``: the same as the command ``convscope``."""

from convscope.cli import main

main()
