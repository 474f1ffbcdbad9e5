"""One target under atheris: ``python -m tests.fuzz.child TARGET [libFuzzer arguments …]``; scripts/fuzz starts it."""

import shlex
import sys

import atheris

from tests.fuzz import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    # What the fuzzer gives to a shell when it needs children of its own, to merge.
    sys.argv[0] = shlex.join((sys.executable, "-m", "tests.fuzz.child", name))
    with atheris.instrument_imports(include=["relay"], enable_loader_override=False):
        run = TARGETS[name].load()
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
