"""The API of webhooks: add, list, test, remove."""

from aiohttp import web

from relay.control import Control
from relay.control.webhooks import NewWebhook, NewWebhookView, WebhookList, WebhookTest
from relay.web.api import BASE, answer, read_body
from relay.web.routes import Route, about


class WebhookApi:
    """Handlers of /api/v1/webhooks."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[Route]:
        """Every operation on webhooks."""
        path = f"{BASE}/webhooks"
        return [
            Route(
                method="GET",
                path=path,
                handler=self.list_webhooks,
                summary="Every webhook and how it is doing",
                answer=WebhookList,
            ),
            Route(
                method="POST",
                path=path,
                handler=self.add_webhook,
                audit="webhook added",
                summary="Tell events to an address; the secret they are signed with is shown this once",
                status=201,
                body=NewWebhook,
                answer=NewWebhookView,
            ),
            Route(
                method="DELETE",
                path=f"{path}/{{webhook}}",
                handler=self.remove_webhook,
                audit="webhook removed",
                summary="Remove a webhook; what waits for it is not told",
                status=204,
            ),
            Route(
                method="POST",
                path=f"{path}/{{webhook}}/test",
                handler=self.test_webhook,
                summary="Send a ping now, and say what became of it",
                answer=WebhookTest,
            ),
        ]

    async def list_webhooks(self, request: web.Request) -> web.Response:
        return answer(WebhookList(webhooks=self._control.webhooks.list()))

    async def add_webhook(self, request: web.Request) -> web.Response:
        view = await self._control.webhooks.add(await read_body(request, NewWebhook))
        about(request, webhook=view.id, host=view.address, channel=view.channel)
        return answer(view, 201)

    async def remove_webhook(self, request: web.Request) -> web.Response:
        await self._control.webhooks.remove(request.match_info["webhook"])
        return web.Response(status=204)

    async def test_webhook(self, request: web.Request) -> web.Response:
        return answer(await self._control.webhooks.test(request.match_info["webhook"]))
