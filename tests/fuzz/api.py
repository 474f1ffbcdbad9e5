"""Every operation of a running relay's OpenAPI document with thousands of made-up requests, by schemathesis.

Requests as the document describes them, and others; half of them name things that are there. No answer may be a
fault of the relay's own, or anything the document does not say, or late; bodies that do not fit are refused.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

LATE_S = 15.0
PASSWORD = "a password of anna's"
THERE = {"name": "demo", "destination": "own", "file": "000000.m4s", "playlist": "media.m3u8"}
"""What a path may name: made before each operation."""
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_TRUE_WITH_503 = "/readyz"


@dataclass
class Outcome:
    """What became of the requests: how many, their status codes, what was wrong, the slowest in seconds."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""
    operations: int = 0


class Attack:
    """Requests to the relay at ``base``, as its admin."""

    def __init__(self, base: str, token: str, *, recording: str = "") -> None:
        self.base = base
        self.outcome = Outcome()
        self._there = {**THERE, "id": recording or "nope"}
        self._session = requests.Session()
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session.headers.update(self._headers)
        load_all_checks()
        self._schema = schemathesis.openapi.from_dict(self._ask("GET", "/openapi.json").json())

    def _ask(self, method: str, path: str, body: object = None) -> requests.Response:
        return self._session.request(method, f"{self.base}/api/v1{path}", json=body, timeout=LATE_S)

    def _prepare(self) -> None:
        """What operations name is there, whatever the last one did."""
        self._ask("POST", "/channels", {"name": "demo"})
        url = {"name": "own", "url": "rtmp://h.example/live", "key": "destination-key"}
        self._ask("POST", "/channels/demo/destinations", url)
        self._ask("POST", "/users", {"name": "anna", "role": "viewer", "password": PASSWORD})
        shares = self._ask("GET", "/channels/demo/shares").json()["shares"]
        share = shares[0] if shares else self._ask("POST", "/channels/demo/shares", {}).json()
        self._there["share"] = share["id"]
        hooks = self._ask("GET", "/webhooks").json()["webhooks"]
        hook = hooks[0] if hooks else self._ask("POST", "/webhooks", {"url": "http://127.0.0.1:9/"}).json()
        self._there["webhook"] = hook.get("id", "nope")

    def run(self, cases: int) -> Outcome:
        """Make at least ``cases`` requests: as many to each operation, then more to those that take a body."""
        operations = [result.ok() for result in self._schema.get_all_operations()]
        operations = [
            item for item in operations if not (_is_endless(item.definition.raw) or item.path.endswith(_LAST))
        ]
        self.outcome.operations = len(operations)
        for operation in operations:
            self._all(operation, cases // len(operations))
            if _takes_json(operation):
                self._refuses_unknown_fields(operation)
        with_body = [operation for operation in operations if _takes_json(operation)]
        while (left := cases - self.outcome.cases) > 0:
            for operation in with_body:
                self._all(operation, left // len(with_body))
        return self.outcome

    def _all(self, operation: Any, cases: int) -> None:
        """``cases``, half of them with a body that does not fit, where there is one."""
        wrong = max(1, cases // 2) if _takes_json(operation) else 0
        self._fuzz(operation, max(1, cases - wrong), GenerationMode.POSITIVE)
        if wrong:
            self._fuzz(operation, wrong, GenerationMode.NEGATIVE)

    def _fuzz(self, operation: Any, cases: int, mode: GenerationMode) -> None:
        self._prepare()

        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), names=st.randoms(use_true_random=False))
        def one(case: Any, names: random.Random) -> None:
            for name in case.path_parameters or {}:
                if name in self._there and names.random() < 0.5:
                    case.path_parameters[name] = self._name(operation.path, name)
            self._try(case, is_wrong=mode is GenerationMode.NEGATIVE)

        cast(Any, one)()

    def _name(self, path: str, name: str) -> str:
        return "anna" if path.startswith("/api/v1/users") else self._there[name]

    def _try(self, case: Any, *, is_wrong: bool) -> None:
        outcome, what = self.outcome, f"{case.method} {case.path}"
        outcome.cases += 1
        started = time.monotonic()
        try:
            response = case.call(base_url=self.base, headers=self._headers, timeout=LATE_S, session=self._session)
        except requests.RequestException as error:
            outcome.wrong.append(f"{what}: {type(error).__name__} after {time.monotonic() - started:.1f} s")
            return
        took = time.monotonic() - started
        if took > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest = took, what
        outcome.statuses[response.status_code] += 1
        if response.status_code == 503 and case.path == _TRUE_WITH_503:
            return
        try:
            case.validate_response(response, checks=_CHECKS)
        except FailureGroup as failures:
            outcome.wrong += [f"{what}: {failure}" for failure in failures.exceptions]
        if is_wrong and _has_wrong_body(case) and response.status_code < 400:
            outcome.wrong.append(f"{what}: took {case.body!r:.300}, which does not fit its schema")
        if response.status_code < 300 and case.method.upper() in ("DELETE", "POST"):
            self._prepare()

    def _refuses_unknown_fields(self, operation: Any) -> None:
        """A field that nobody knows is refused by its name, wherever it is put."""
        path = operation.path
        for name in _names_in(path):
            path = path.replace(f"{{{name}}}", self._name(path, name))
        response = self._ask(operation.method.upper(), path.removeprefix("/api/v1"), {"unknown_field": 1})
        self.outcome.cases += 1
        if response.status_code != 422 or "unknown_field" not in response.text:
            self.outcome.wrong.append(f"{operation.method} {path}: an unknown field gives {response.status_code}")


def _takes_json(operation: Any) -> bool:
    """Whether its body has a schema, and is no file."""
    return any(body.media_type == "application/json" for body in operation.body)


def _has_wrong_body(case: Any) -> bool:
    body = case.meta.components.get(ParameterLocation.BODY)
    return body is not None and body.mode is GenerationMode.NEGATIVE


def _names_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


_LAST = "/token/rotate"  # ends the token all the others come with


def _is_endless(definition: dict[str, Any]) -> bool:
    """Whether the answer is a stream of events."""
    return any("text/event-stream" in answer.get("content", {}) for answer in definition["responses"].values())
