"""The route table: what the API serves, who may, and what it looks like; the OpenAPI document is drawn from it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from relay import __version__
from relay.control.users import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
DEADLINE_S = web.AppKey("deadline_s", float)


class Caller(NamedTuple):
    """Who asks, and what that one may. ``name``: of a user; empty for the admin token, and for whoever has a link."""

    name: str
    role: Role


CALLER = web.RequestKey("caller", Caller)
ABOUT = web.RequestKey("about", dict[str, object])


def about(request: web.Request, **facts: object) -> None:
    """What the audit log shall say of the request: names, numbers, which fields were sent; never a secret."""
    request.setdefault(ABOUT, {}).update(facts)


def address_of(request: web.Request, *, behind_proxy: bool) -> str:
    """Who asks. ``behind_proxy``: as the proxy's X-Forwarded-For says, where there is one."""
    told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() if behind_proxy else ""
    return told[:64] or request.remote or ""


async def receive(request: web.Request) -> bytes:
    """The whole body. Raises HTTPException when it is compressed, too long, or slower than the deadline."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType
    try:
        async with asyncio.timeout(request.config_dict[DEADLINE_S]):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. ``body`` and ``answer`` are the models of request and response; ``public`` needs no token.

    ``role``: the least that may. What viewers may is named, so that nothing new is theirs by oversight. ``audit``: what
    the audit log calls it; empty for what changes nothing.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    status: int = 200
    body: type[BaseModel] | None = None
    upload: str = ""  # the media type of a body that is a file
    answer: type[BaseModel] | None = None
    content_type: str = "application/json"
    query: tuple[str, ...] = ()
    public: bool = False
    role: Role = Role.OPERATOR
    has_head: bool = False  # HEAD is answered, too
    audit: str = ""

    def noun(self, parameter: str) -> str:
        """What a parameter of the path names: ``name`` and ``id`` are called as the collection they are of."""
        if parameter not in ("name", "id"):
            return parameter
        return self.path.partition(f"/{{{parameter}}}")[0].rpartition("/")[2].removesuffix("s")

    @property
    def made(self) -> str:
        """What a name in the body names, where the route adds to a collection."""
        return self.path.rpartition("/")[2].removesuffix("s")


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``routes``."""
    models = {model for route in routes for model in (route.body, route.answer) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    definitions = dict(schemas.get("$defs", {}))
    definitions["Error"] = {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                "required": ["code", "message"],
            }
        },
        "required": ["error"],
    }
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Field Relay", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query]
    success: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        success["content"] = {"application/json": {"schema": _reference(route.answer)}}
    elif route.status == 200:
        success["content"] = {route.content_type: {}}
    failure = {
        "description": "What went wrong, and what to do about it",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.handler.__name__.strip("_"),
        "parameters": parameters,
        "responses": {str(route.status): success, "default": failure},
        "x-role": "nobody" if route.public else route.role.word,  # the least that may
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body)}},
        }
    elif route.upload:
        content = {route.upload: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.public:
        operation["security"] = []
    return operation


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
