"""The attacks as a program: ``python -m tests.attack [--quick] [--json FILE] [ATTACK …]`` prints a table."""

import sys

from tests.attack import ATTACKS
from tests.chaos.__main__ import main

if __name__ == "__main__":
    sys.exit(main("attack", "attack", ATTACKS, "Attacks on a real relay, and their figures."))
