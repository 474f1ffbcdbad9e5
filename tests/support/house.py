"""The rules of the house, each a function from a tree to its violations; tests/test_house.py runs them."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

FLOORS: tuple[tuple[str, ...], ...] = (
    ("media", "config", "secret", "redaction", "errors", "files", "throttle", "budget", "confine"),
    ("protocol",),
    ("hub", "supervise", "database", "outbound", "listen", "certificates", "audit"),
    ("ingest", "egress", "archive", "hooks"),
    ("control",),
    ("web", "metrics", "metrics_safety"),
    ("app", "cli", "doctor", "logs", "log_quota", "client"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Rooms of one floor that may not import each other.
APART = {"ingest", "egress", "archive", "hooks", "web", "metrics", "metrics_safety"}

_IO = {"socket", "ssl", "os", "pathlib", "subprocess", "tempfile", "shutil"}
_HEAVY = {"av", "aiohttp", "boto3", "botocore", "sqlalchemy", "alembic", "prometheus_client", "structlog"}
FORBIDDEN = {
    "media": {"asyncio", "threading", "time", "random"} | _IO | _HEAVY,
    "protocol": {"asyncio", "threading", "time", "random", "secrets"} | _IO | _HEAVY,
    "hub": {"threading", "random"} | _IO | _HEAVY,
    "supervise": {"threading"} | _IO | _HEAVY,
}
HOMES = {
    "argon2": ("control/users.py",),
    "boto3": ("archive/s3.py",),
    "botocore": ("archive/s3.py",),
    "sqlalchemy": ("database/",),
    "alembic": ("database/",),
    "av": (
        "archive/packager.py",
        "archive/thumbnail",
        "cli/recordings.py",
        "egress/slate.py",
        "egress/hls",
        "ingest/demux",
    ),
    "prometheus_client": ("metrics.py", "metrics_safety.py"),
    "aiohttp": ("web/", "app.py", "outbound/http.py", "ingest/hls_", "egress/hls", "hooks/"),
    "aiohttp_pydantic": ("web/",),
    "jinja2": ("web/",),
    "segno": ("web/",),
    "typer": ("cli/",),
    "cryptography": ("database/", "archive/signing.py", "certificates.py", "ingest/hls_"),
    "uvloop": ("app.py",),
}
TOP = {
    "relay",
    "scripts",
    "tests",
    "deploy",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-fuzz.lock",
}
LONGEST = 400


class Tree:
    """A checkout, or a made-up one: Python sources of relay/ and tests/ and the names at the top."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def sources(self, under: str) -> Iterator[tuple[str, str]]:
        """(path from the root, text) of each Python file; generated caches apart."""
        for path in sorted((self.root / under).rglob("*.py")):
            yield path.relative_to(self.root).as_posix(), path.read_text("utf-8")

    def relay(self) -> Iterator[tuple[str, str, ast.Module]]:
        for path, text in self.sources("relay"):
            yield path, text, _parsed(text)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """What is, or is about to be, under version control; every file of a made-up tree."""
        if (self.root / ".git").exists():
            words = ["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            listed = subprocess.run(words, capture_output=True, check=True).stdout.decode()
            paths = [self.root / name for name in listed.split("\0") if name]
        else:
            paths = [path for path in self.root.rglob("*") if path.is_file()]
        for path in paths:
            if path.is_file():
                yield path.relative_to(self.root).as_posix(), path.read_bytes()


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def _room(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


# --- the rules ---------------------------------------------------------------------------------------------------


def floors(tree: Tree) -> Iterator[str]:
    """A room imports from lower floors only, and never a neighbour it must not know."""
    for path, _, module in tree.relay():
        room = _room(path)
        if room in ("__init__", "__main__"):
            continue
        if room not in FLOOR:
            yield f"{path}: {room} has no floor"
            continue
        for line, name in _imports(module):
            parts = name.split(".")
            if parts[0] != "relay" or len(parts) < 2 or parts[1] == room or parts[1].startswith("__"):
                continue
            other = parts[1]
            if other not in FLOOR:
                yield f"{path}:{line}: {other} has no floor"
            elif FLOOR[other] > FLOOR[room]:
                yield f"{path}:{line}: floor {FLOOR[room]} imports {other} of floor {FLOOR[other]}"
            elif FLOOR[other] == FLOOR[room] and {room, other} <= APART:
                yield f"{path}:{line}: {room} imports its neighbour {other}"


def relative_imports(tree: Tree) -> Iterator[str]:
    """Every import is absolute, so that it can be read and checked."""
    for path, _, module in tree.relay():
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{path}:{node.lineno}: relative import"


def forbidden_imports(tree: Tree) -> Iterator[str]:
    """Pure rooms stay pure: clocks, nonces, sockets and files come as arguments or not at all."""
    for path, _, module in tree.relay():
        banned = FORBIDDEN.get(_room(path), set())
        for line, name in _imports(module):
            if name.split(".")[0] in banned:
                yield f"{path}:{line}: {_room(path)} must not import {name.split('.')[0]}"


def homes(tree: Tree) -> Iterator[str]:
    """One home for each library."""
    for path, _, module in tree.relay():
        inside = path.removeprefix("relay/")
        for line, name in _imports(module):
            library = name.split(".")[0]
            if library in HOMES and not inside.startswith(HOMES[library]):
                yield f"{path}:{line}: {library} lives in {' and '.join(HOMES[library])}"


def mirrors(tree: Tree) -> Iterator[str]:
    """relay/a/b.py has tests/a/test_b.py; a test file outside support and e2e has the source it tests."""
    special = {f"tests/test_{name}.py" for name in ("house", "scripts", "deploy", "monitoring", "support", "fuzz")}
    for path, _ in tree.sources("relay"):
        parts = path.split("/")
        if parts[-1].startswith("__") or "versions" in parts or "migrations" in parts:
            continue
        mirror = "/".join(["tests", *parts[1:-1], f"test_{parts[-1]}"])
        if not (tree.root / mirror).exists():
            yield f"{path}: no {mirror}"
    for path, _ in tree.sources("tests"):
        parts = path.split("/")
        if not parts[-1].startswith("test_") or parts[1] in ("e2e", "support") or path in special:
            continue
        source = "/".join(["relay", *parts[1:-1], parts[-1].removeprefix("test_")])
        package = source.removesuffix(".py") + "/__init__.py"
        if not (tree.root / source).exists() and not (tree.root / package).exists():
            yield f"{path}: no {source}"


def sizes(tree: Tree) -> Iterator[str]:
    """A file of 400 lines or more is two ideas."""
    for folder in ("relay", "tests"):
        for path, text in tree.sources(folder):
            if text.count("\n") >= LONGEST:
                yield f"{path}: {text.count(chr(10))} lines"


def docstrings(tree: Tree) -> Iterator[str]:
    """The first line of each file says what it is for; a package's sign gives its floor and what it lacks."""
    for folder in ("relay", "tests"):
        for path, text in tree.sources(folder):
            if not text.strip() and path.startswith("tests/"):
                continue
            sign = ast.get_docstring(_parsed(text))
            if not sign or not text.startswith(('"""', 'r"""')):
                yield f"{path}: does not begin with a docstring"
            elif path.startswith("relay/") and path.endswith("/__init__.py") and path.count("/") == 2:
                number = FLOOR.get(_room(path))
                if f"Floor {number}" not in sign:
                    yield f"{path}: its sign does not say Floor {number}"
                if not re.search(r"\b([Ww]ithout|[Nn]o|[Nn]ever|[Ll]acks)\b", sign):
                    yield f"{path}: its sign does not say what it lacks"


def leftovers(tree: Tree) -> Iterator[str]:
    """Nothing unfinished, nothing switched off, no test that cannot fail."""
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    for folder in ("relay", "tests", "scripts", "deploy"):
        base = tree.root / folder
        for file in sorted(base.rglob("*")) if base.is_dir() else []:
            if file.is_file() and file.suffix in (".py", ".toml", ".html", ".css", "") and "data" not in file.parts:
                for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
                    if marks.search(line):
                        yield f"{file.relative_to(tree.root)}:{number}: {line.strip()}"
    for path, text in tree.sources("tests"):
        for node in ast.walk(_parsed(text)):
            if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and node.test.value:
                yield f"{path}:{node.lineno}: an assert that cannot fail"
    for path, _, module in tree.relay():
        for node in ast.walk(module):
            if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
                yield f"{path}:{node.lineno}: not implemented"


def silence(tree: Tree) -> Iterator[str]:
    """No error is swallowed whole: an except that catches everything does something with it."""
    for path, _, module in tree.relay():
        for node in ast.walk(module):
            if not isinstance(node, ast.ExceptHandler):
                continue
            wide = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            if wide and all(isinstance(step, ast.Pass | ast.Continue | ast.Constant) for step in node.body):
                yield f"{path}:{node.lineno}: swallows every error"


def prints(tree: Tree) -> Iterator[str]:
    """Only the roof talks to a terminal."""
    for path, _, module in tree.relay():
        if path.startswith("relay/cli/"):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{path}:{node.lineno}: print"


def words(tree: Tree) -> Iterator[str]:
    """Names follow the README's words."""
    instead = {
        "bitstream": "track or data",
        "iframe": "keyframe",
        "i_frame": "keyframe",
        "sink": "destination",
        "whitelist": "a list of what is allowed",
        "blacklist": "a list of what is refused",
    }
    for path, _, module in tree.relay():
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                pieces = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name).lower()
                for word, better in instead.items():
                    if re.search(rf"(?:^|_){word}(?:_|s?$)", pieces):
                        yield f"{path}:{node.lineno}: {node.name}: say {better}"


def secrets(tree: Tree) -> Iterator[str]:
    """No key or credential is checked in."""
    marks = (
        re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]"),
        re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
        re.compile(rb"\bghp_[A-Za-z0-9]{36}\b"),
        re.compile(rb"\bxox[abp]-[0-9A-Za-z-]{20,}"),
    )
    for path, content in tree.files():
        if path.rsplit("/", 1)[-1] in ("admin.token", "secret.key", ".env"):
            yield f"{path}: a secret file"
        for mark in marks:
            if mark.search(content):
                yield f"{path}: looks like a secret ({mark.pattern.decode()})"


def comparisons(tree: Tree) -> Iterator[str]:
    """Secrets compare themselves, in constant time: an ``==`` of what ``reveal()`` gives would tell by its timing."""
    for path, _, module in tree.relay():
        for node in ast.walk(module):
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if any("attr='reveal'" in ast.dump(side) for side in sides):
                yield f"{path}:{node.lineno}: compares a secret's text"


def top_level(tree: Tree) -> Iterator[str]:
    """The top of the tree holds what the README names and nothing else."""
    for name in sorted({path.split("/")[0] for path, _ in tree.files()}):
        if name not in TOP and not name.startswith("."):
            yield f"{name}: does not belong at the top"


def big_files(tree: Tree) -> Iterator[str]:
    """Captures and clips stay small enough to read a diff of."""
    for path, content in tree.files():
        if len(content) > 1_000_000 and not path.endswith(".lock"):
            yield f"{path}: {len(content)} bytes"


Rule = Callable[[Tree], Iterator[str]]
RULES: tuple[Rule, ...] = (
    floors,
    relative_imports,
    forbidden_imports,
    homes,
    mirrors,
    sizes,
    docstrings,
    leftovers,
    silence,
    prints,
    words,
    secrets,
    comparisons,
    top_level,
    big_files,
)
