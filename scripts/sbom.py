"""Completes a CycloneDX document on standard input: licences as installed in VENV, and what is vendored or bundled.

``python sbom.py VENV FILE``: FILE ``-`` is standard output. Ends with 1 when the document is not valid after that.
"""

import hashlib
import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "relay/web/static/vendor"
HLS = VENDOR / "hls.light.min.js"


def licences(found: Distribution) -> list[dict[str, Any]]:
    """As its metadata says: an expression, else its classifiers, else the words of its licence field."""
    metadata = found.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return [{"expression": expression}]
    classifiers = metadata.get_all("Classifier") or []
    names = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    field = (metadata.get("License") or "").strip()
    if not names and field and "\n" not in field and len(field) < 100:
        names = [field]
    return [{"license": {"name": name}} for name in names]


def vendored() -> dict[str, Any]:
    """hls.js, with the version its own code tells."""
    data = HLS.read_bytes()
    versions = set(re.findall(rb'"(1\.\d+\.\d+)"', data))
    if len(versions) != 1:
        sys.exit(f"sbom: cannot tell the version of {HLS}: {versions}")
    version = versions.pop().decode()
    return {
        "bom-ref": "vendored-hls.js",
        "type": "library",
        "name": "hls.js",
        "version": version,
        "purl": f"pkg:npm/hls.js@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}],
        "properties": [{"name": "path", "value": HLS.relative_to(ROOT).as_posix()}],
    }


def bundled(site: Path) -> list[dict[str, Any]]:
    """The ffmpeg program in the wheel of imageio-ffmpeg."""
    found = []
    for file in sorted((site / "imageio_ffmpeg/binaries").glob("ffmpeg-*")):
        version = file.name.rpartition("-v")[2]
        found.append(
            {
                "bom-ref": f"bundled-{file.name}",
                "type": "application",
                "name": "ffmpeg",
                "version": version,
                "licenses": [{"license": {"id": "GPL-3.0-or-later"}}],
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
                "properties": [{"name": "bundled-in", "value": "imageio-ffmpeg"}],
            }
        )
    return found


def main(venv: Path, target: str) -> int:
    from cyclonedx.schema import SchemaVersion  # of the tool's environment
    from cyclonedx.validation.json import JsonStrictValidator

    document = json.load(sys.stdin)
    (site,) = (venv / "lib").glob("python3*/site-packages")
    installed = {re.sub(r"[-_.]+", "-", item.name).lower(): item for item in distributions(path=[str(site)])}
    for component in document["components"]:
        component.pop("description", None)  # the lines of the lock file
        found = installed.get(component["name"])
        if found is not None and found.version == component["version"] and licences(found):
            component["licenses"] = licences(found)
    document["components"] += [vendored(), *bundled(site)]
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    error = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(text)
    if error is not None:
        print(f"sbom: not valid: {error}", file=sys.stderr)
        return 1
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, "utf-8")
        print(f"sbom: {target}: {len(document['components'])} components", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
