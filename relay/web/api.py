"""The JSON API: thin handlers over Control. Bodies are checked by their models, errors said by the server's guard."""

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from relay.control import Control, models
from relay.control.fields import explain
from relay.control.users import Role
from relay.errors import InvalidError
from relay.web.routes import CALLER, Route, about, receive

Model = TypeVar("Model", bound=BaseModel)
BASE = "/api/v1"


async def read_body(request: web.Request, model: type[Model]) -> Model:
    """The request's JSON body as ``model``. Raises InvalidError naming each wrong field."""
    if request.content_type != "application/json":
        raise InvalidError("send JSON, with Content-Type: application/json")
    try:
        read = model.model_validate_json(await receive(request))
    except ValidationError as error:
        raise InvalidError(explain(error)) from error
    sent = [name for name in type(read).model_fields if name in read.model_fields_set]
    about(request, named=getattr(read, "name", None), fields=[name for name in sent if name != "name"])
    return read


def answer(view: BaseModel, status: int = 200) -> web.Response:
    """``view`` as a JSON response that no cache keeps (it may hold keys)."""
    return web.Response(
        text=view.model_dump_json(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _seen(request: web.Request, view: models.ChannelView) -> models.ChannelView:
    """``view`` as the caller may see it: viewers see no key."""
    if request[CALLER].role >= Role.OPERATOR:
        return view
    return view.model_copy(update={"stream_key": "", "read_key": "", "hls_publish_url": ""})


class Api:
    """Handlers of /api/v1."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[Route]:
        """Every operation of the API."""
        channels, one = f"{BASE}/channels", f"{BASE}/channels/{{name}}"
        destinations, destination = f"{one}/destinations", f"{one}/destinations/{{destination}}"
        view, place = models.ChannelView, models.DestinationView
        return [
            Route(
                method="GET",
                path=channels,
                handler=self.list_channels,
                role=Role.VIEWER,
                summary="Every channel",
                answer=models.ChannelList,
            ),
            Route(
                method="POST",
                path=channels,
                handler=self.create_channel,
                audit="channel created",
                summary="Create a channel",
                status=201,
                body=models.NewChannel,
                answer=view,
            ),
            Route(
                method="GET",
                path=one,
                handler=self.get_channel,
                role=Role.VIEWER,
                summary="One channel",
                answer=view,
            ),
            Route(
                method="PATCH",
                path=one,
                handler=self.change_channel,
                audit="channel changed",
                summary="Change a channel",
                body=models.ChannelChange,
                answer=view,
            ),
            Route(
                method="DELETE",
                path=one,
                handler=self.delete_channel,
                summary="Delete a channel",
                status=204,
                audit="channel deleted",
            ),
            Route(
                method="POST",
                path=f"{one}/rotate-key",
                handler=self.rotate_key,
                audit="stream key changed",
                summary="Give the channel a new stream key; the old one stops working at once",
                answer=view,
            ),
            Route(
                method="GET",
                path=destinations,
                handler=self.list_destinations,
                role=Role.VIEWER,
                summary="The channel's destinations",
                answer=models.DestinationList,
            ),
            Route(
                method="POST",
                path=destinations,
                handler=self.add_destination,
                audit="destination added",
                summary="Add a destination, also while live",
                status=201,
                body=models.NewDestination,
                answer=place,
            ),
            Route(
                method="GET",
                path=destination,
                handler=self.get_destination,
                role=Role.VIEWER,
                summary="One destination: how it is configured, and how it is doing",
                answer=place,
            ),
            Route(
                method="PATCH",
                path=destination,
                handler=self.change_destination,
                audit="destination changed",
                summary="Change, enable or disable a destination, also while live",
                body=models.DestinationChange,
                answer=place,
            ),
            Route(
                method="DELETE",
                path=destination,
                handler=self.remove_destination,
                audit="destination removed",
                summary="Remove a destination",
                status=204,
            ),
            Route(
                method="POST",
                path=f"{BASE}/apply",
                handler=self.apply,
                audit="document applied",
                summary="Make channels as a document says",
                body=models.Document,
                answer=models.Changes,
            ),
            Route(
                method="GET",
                path=f"{BASE}/recordings",
                handler=self.list_recordings,
                role=Role.VIEWER,
                summary="Recordings, newest first",
                answer=models.RecordingList,
                query=("channel",),
            ),
            Route(
                method="GET",
                path=f"{BASE}/recordings/{{id}}",
                handler=self.get_recording,
                role=Role.VIEWER,
                summary="One recording",
                answer=models.RecordingView,
            ),
            Route(
                method="DELETE",
                path=f"{BASE}/recordings/{{id}}",
                handler=self.delete_recording,
                audit="recording deleted",
                summary="Delete a recording from the relay and from the object store",
                status=204,
            ),
            Route(
                method="GET",
                path=f"{BASE}/recordings/{{id}}/gaps",
                handler=self.list_gaps,
                role=Role.VIEWER,
                summary="What is missing from the recording, where, and why",
                answer=models.GapList,
            ),
            Route(
                method="GET",
                path=f"{BASE}/recordings/{{id}}/thumbnails",
                handler=self.list_thumbnails,
                role=Role.VIEWER,
                summary="Pictures of the recording, about one a minute",
                answer=models.ThumbnailList,
            ),
        ]

    async def list_channels(self, request: web.Request) -> web.Response:
        return answer(models.ChannelList(channels=[_seen(request, view) for view in self._control.channels()]))

    async def create_channel(self, request: web.Request) -> web.Response:
        return answer(await self._control.create_channel(await read_body(request, models.NewChannel)), 201)

    async def get_channel(self, request: web.Request) -> web.Response:
        return answer(_seen(request, self._control.channel(request.match_info["name"])))

    async def change_channel(self, request: web.Request) -> web.Response:
        change = await read_body(request, models.ChannelChange)
        return answer(await self._control.change_channel(request.match_info["name"], change))

    async def delete_channel(self, request: web.Request) -> web.Response:
        await self._control.delete_channel(request.match_info["name"])
        return web.Response(status=204)

    async def rotate_key(self, request: web.Request) -> web.Response:
        return answer(await self._control.rotate_key(request.match_info["name"]))

    async def list_destinations(self, request: web.Request) -> web.Response:
        return answer(models.DestinationList(destinations=self._control.destinations(request.match_info["name"])))

    async def add_destination(self, request: web.Request) -> web.Response:
        wanted = await read_body(request, models.NewDestination)
        return answer(await self._control.add_destination(request.match_info["name"], wanted), 201)

    async def get_destination(self, request: web.Request) -> web.Response:
        where = request.match_info
        return answer(self._control.destination(where["name"], where["destination"]))

    async def change_destination(self, request: web.Request) -> web.Response:
        change = await read_body(request, models.DestinationChange)
        where = request.match_info
        return answer(await self._control.change_destination(where["name"], where["destination"], change))

    async def remove_destination(self, request: web.Request) -> web.Response:
        where = request.match_info
        await self._control.remove_destination(where["name"], where["destination"])
        return web.Response(status=204)

    async def apply(self, request: web.Request) -> web.Response:
        done = await self._control.apply(await read_body(request, models.Document))
        about(request, fields="", changes=done.changes)
        return answer(done)

    async def list_recordings(self, request: web.Request) -> web.Response:
        return answer(
            models.RecordingList(recordings=await self._control.recordings.list(request.query.get("channel")))
        )

    async def delete_recording(self, request: web.Request) -> web.Response:
        await self._control.recordings.delete(request.match_info["id"])
        return web.Response(status=204)

    async def list_gaps(self, request: web.Request) -> web.Response:
        return answer(await self._control.recordings.gaps(request.match_info["id"]))

    async def list_thumbnails(self, request: web.Request) -> web.Response:
        return answer(await self._control.recordings.thumbnails(request.match_info["id"]))

    async def get_recording(self, request: web.Request) -> web.Response:
        return answer(await self._control.recordings.get(request.match_info["id"]))
