"""Every kept input by its target, in this process, but for those that end it: ``python -m tests.fuzz.replay``."""

from tests.fuzz import TARGETS
from tests.fuzz.engine import ENDS_CHILD, corpus


def main() -> None:
    for name, target in TARGETS.items():
        run = target.load()
        for path in sorted(corpus(name).iterdir()):
            if not path.name.startswith(ENDS_CHILD):
                run(path.read_bytes())


if __name__ == "__main__":
    main()
