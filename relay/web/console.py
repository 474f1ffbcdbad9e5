"""The console: every channel at a glance, each with its page, what was recorded, and what the relay says of itself."""

from typing import Any

from aiohttp import web

from relay.archive.archive import Archive
from relay.control import Control, models
from relay.control.history import History
from relay.control.users import Role
from relay.egress.platforms import PLATFORMS
from relay.web.audit import LAST, WebAudit
from relay.web.events import EventLog
from relay.web.glance import destination_glance
from relay.web.pages import page, see
from relay.web.pulse import Pulse
from relay.web.routes import Caller, Route
from relay.web.sessions import Sessions
from relay.web.timeline import timeline
from relay.web.verify import Checks
from relay.web.words import STATES

RECORDINGS = 50
EVENTS = 100  # on a page as it comes; the script reads on


class Console:
    """Pages for people who are signed in. What they change goes through the API, as everything does."""

    def __init__(
        self,
        control: Control,
        archive: Archive | None,
        sessions: Sessions,
        events: EventLog,
        history: History,
        audit: WebAudit,
    ) -> None:
        self._control = control
        self._archive = archive
        self._sessions = sessions
        self._history = history
        self._audit = audit
        self._checks = Checks(archive)
        self._pulse = Pulse(control, archive, history, events, sessions.visitor)

    def routes(self) -> list[Route]:
        """What pages ask for in JSON and as events. Before the route of a recording's plain files."""
        return [*self._checks.routes(), *self._pulse.routes()]

    def register(self, app: web.Application) -> None:
        app.router.add_get("/", self.home)
        app.router.add_get("/channels/{name}", self.channel)
        app.router.add_get("/recordings", self.recordings)
        app.router.add_get("/recordings/{id}", self.recording)
        app.router.add_get("/log", self.log)
        app.router.add_get("/audit", self.audit)

    def start(self) -> None:
        self._history.start()

    def close(self) -> None:
        self._history.close()
        self._checks.close()

    def allows(self, request: web.Request) -> bool:
        """Whether somebody is signed in."""
        return self._sessions.caller(request) is not None

    # --- pages ----------------------------------------------------------------------------------------------------

    async def home(self, request: web.Request) -> web.Response:
        me = self._sessions.visitor(request)
        if me is None:
            return see("/sign-in")
        recordings = await self._control.recordings.list(limit=5)
        return self._page(
            "home.html", me, at="channels", channels=self._pulse.glances(fresh=True), recordings=recordings
        )

    async def channel(self, request: web.Request) -> web.Response:
        me = self._sessions.visitor(request)
        if me is None:
            return see("/sign-in")
        name = request.match_info["name"]
        if name not in self._control.channel_names:
            return self._page("missing.html", me, status=404, what="channel")
        view = self._control.channel(name)
        recordings = await self._control.recordings.list(name, limit=10)
        thumbnails = (await self._control.recordings.thumbnails(recordings[0].id)).thumbnails if recordings else []
        return self._page(
            "channel.html",
            me,
            at="channels",
            # Without its keys: pages ask for those when somebody wants to see them.
            channel=view.model_copy(update={"stream_key": "", "read_key": ""}),
            glance=self._pulse.detail(name),
            destinations=[(item, destination_glance(item)) for item in view.destinations],
            recordings=recordings,
            poster=thumbnails[-1].url if thumbnails and view.state != "offline" else "",
            events=self._pulse.log(name, most=EVENTS),
            fields=set(models.ChannelChange.model_fields),
        )

    async def recordings(self, request: web.Request) -> web.Response:
        me = self._sessions.visitor(request)
        if me is None:
            return see("/sign-in")
        chosen = request.query.get("channel", "")
        recordings = await self._control.recordings.list(chosen or None, limit=RECORDINGS)
        return self._page(
            "recordings.html", me, at="recordings", recordings=recordings, chosen=chosen,
            names=self._control.channel_names, most=RECORDINGS, is_off=self._archive is None,
        )  # fmt: skip

    async def recording(self, request: web.Request) -> web.Response:
        me = self._sessions.visitor(request)
        if me is None:
            return see("/sign-in")
        found = await self._control.recordings.find(request.match_info["id"])
        if found is None:
            return self._page("missing.html", me, status=404, what="recording")
        gaps = (await self._control.recordings.gaps(found.id)).gaps
        thumbnails = (await self._control.recordings.thumbnails(found.id)).thumbnails
        return self._page(
            "recording.html", me, at="recordings", recording=found, gaps=gaps, thumbnails=thumbnails,
            bar=timeline(found, gaps), check=self._checks.view(found.id), has_channel=found.channel
            in self._control.channel_names,
        )  # fmt: skip

    async def watch(self, request: web.Request) -> web.Response:
        """The page of the recording that the request names (Player registers it): links of old."""
        signed_in = self._sessions.visitor(request) is not None
        return see(f"/recordings/{request.match_info['name']}" if signed_in else "/sign-in")

    async def log(self, request: web.Request) -> web.Response:
        me = self._sessions.visitor(request)
        if me is None:
            return see("/sign-in")
        return self._page("log.html", me, at="log", events=self._pulse.log(None, most=EVENTS))

    async def audit(self, request: web.Request) -> web.Response:
        """Who did what: for those who may do something themselves."""
        me = self._sessions.visitor(request)
        if me is None:
            return see("/sign-in")
        if me.role < Role.OPERATOR:
            return see("/")
        return self._page("audit.html", me, at="audit", entries=await self._audit.last(), most=LAST)

    @staticmethod
    def _page(template: str, me: Caller, *, at: str = "", status: int = 200, **values: Any) -> web.Response:
        return page(
            template, status=status, me=me, may_change=me.role >= Role.OPERATOR, at=at, states=STATES,
            platforms=list(PLATFORMS.values()), **values,
        )  # fmt: skip
