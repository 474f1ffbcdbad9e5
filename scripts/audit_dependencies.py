"""Runs pip-audit on lock files, and believes it only where it looked: ``python audit_dependencies.py TOOL LOCK …``.

A package its service does not know is passed over by pip-audit with exit code 0; here that is "not checked", and 2.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

GOOD, BAD, NOT_CHECKED = 0, 1, 2


def locked(lock: str) -> set[str]:
    """The names a lock file pins."""
    return set(
        re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,._-]*\])?==", Path(lock).read_text("utf-8"), re.MULTILINE)
    )


def main(tool: str, locks: list[str]) -> int:
    outcome = GOOD
    for lock in locks:
        words = [tool, "--requirement", lock, "--disable-pip", "--require-hashes"]
        done = subprocess.run(
            [*words, "--progress-spinner", "off", "--format", "json"], capture_output=True, text=True, check=False
        )
        try:
            found = json.loads(done.stdout)["dependencies"]
        except (ValueError, LookupError):
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            print(f"audit-dependencies: NOT CHECKED: {lock}: {last}", file=sys.stderr)
            outcome = max(outcome, NOT_CHECKED)
            continue
        checked = {item["name"] for item in found if "vulns" in item and "skip_reason" not in item}
        unsound = [item for item in found if item.get("vulns")]
        for item in unsound:
            for vuln in item["vulns"]:
                fixed = ", ".join(vuln.get("fix_versions", ())) or "no version yet"
                print(f"{lock}: {item['name']} {item['version']}: {vuln['id']}, mended in {fixed}")
        missed = sorted(locked(lock) - checked)
        if unsound:
            outcome = BAD
        if missed:
            shown = ", ".join(missed[:5]) + (" …" if len(missed) > 5 else "")
            print(
                f"audit-dependencies: NOT CHECKED: {lock}: {len(missed)} of {len(locked(lock))} packages could not be "
                f"looked up ({shown}); does this registry serve https://pypi.org/pypi/NAME/VERSION/json?",
                file=sys.stderr,
            )
            outcome = outcome if outcome == BAD else NOT_CHECKED
        elif not unsound:
            print(f"{lock}: {len(checked)} packages looked up, no known vulnerability")
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
