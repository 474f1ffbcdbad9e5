"""The route table and the document drawn from it."""

from aiohttp import web
from pydantic import BaseModel

from relay.web.routes import Route, openapi
from tests.support.app import Browser


class Sent(BaseModel):
    name: str


async def handler(request: web.Request) -> web.Response:
    return web.Response()


def test_a_route_becomes_an_operation() -> None:
    document = openapi(
        [
            Route(method="POST", path="/a/{name}", handler=handler, summary="Do", status=201, body=Sent, answer=Sent),
            Route(method="GET", path="/a/{name}", handler=handler, summary="See", query=("q",), public=True),
        ]
    )
    operations = document["paths"]["/a/{name}"]
    assert [item["name"] for item in operations["get"]["parameters"]] == ["name", "q"]
    assert operations["get"]["security"] == []
    reference = {"schema": {"$ref": "#/components/schemas/Sent"}}
    assert operations["post"]["requestBody"]["content"]["application/json"] == reference
    assert operations["post"]["responses"]["201"]["content"]["application/json"] == reference


async def test_every_reference_in_the_served_document_leads_somewhere(browser: Browser) -> None:
    status, document, _ = await browser.ask("GET", "/api/v1/openapi.json", token="")
    assert status == 200
    schemas = set(document["components"]["schemas"])

    def references(value: object) -> "set[str]":
        if isinstance(value, dict):
            own = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
            return own.union(*(references(item) for item in value.values())) if value else own
        if isinstance(value, list):
            return set().union(*(references(item) for item in value))
        return set()

    assert references(document) <= schemas
    assert {"ChannelView", "RecordingList", "NewDestination", "Error"} <= schemas
    identifiers = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(identifiers)) == len(identifiers)
