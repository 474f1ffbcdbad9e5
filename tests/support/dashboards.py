"""The Grafana dashboards and Prometheus rules of deploy/, read as Grafana and Prometheus read them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
FILES = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


class Query(NamedTuple):
    """One query of a panel: where it is, its PromQL as written, and whether it wants a moment or a range."""

    where: str
    expression: str
    instant: bool


def boards() -> dict[str, Any]:
    """Each dashboard by its file's name."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in FILES}


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its panels, rows left out."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(name: str, board: Mapping[str, Any]) -> Iterator[Query]:
    """Every panel's queries, in order."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(f"{name}: {panel['title']} ({target['refId']})", target["expr"], target["instant"])


def label_values(query: str) -> tuple[str, str]:
    """(selector, label) of a variable's ``label_values(selector, label)``."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found, query
    return found[1], found[2]


def filled(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its variables replaced, as Grafana does it. Raises KeyError for one there is no value for."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], text)


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of deploy/prometheus/rules that are an ``alert`` or a ``record``."""
    documents = [yaml.safe_load(file.read_text("utf-8")) for file in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"] if kind in rule]


def metric_names(expression: str) -> set[str]:
    """The series a PromQL expression reads: all our names have an underscore, no function of ours is like them."""
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"", " ", expression)
    bare = re.sub(r"\b(by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()", bare)
    return {word for word in words if re.match(r"(\w+:)?(relay|process)_|up$|ALERTS$", word)}
