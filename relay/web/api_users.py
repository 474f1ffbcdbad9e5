"""The API's part for users: who else may sign in. Only the admin token may change that."""

from aiohttp import web

from relay.control.users import NewUser, Role, User, UserChange, UserList, Users, UserView
from relay.web.api import BASE, answer, read_body
from relay.web.routes import Route, about


class UserApi:
    """Handlers of /api/v1/users. Passwords go in, and never out."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def routes(self) -> list[Route]:
        every, one = f"{BASE}/users", f"{BASE}/users/{{name}}"
        return [
            Route(
                method="GET", path=every, handler=self.list_users, summary="Every user", answer=UserList,
                role=Role.ADMIN,
            ),
            Route(
                method="POST", path=every, handler=self.add_user, summary="Add a user", status=201, body=NewUser,
                answer=UserView, role=Role.ADMIN, audit="user added",
            ),
            Route(
                method="PATCH", path=one, handler=self.change_user, summary="Give a user another password or role",
                body=UserChange, answer=UserView, role=Role.ADMIN, audit="user changed",
            ),
            Route(
                method="DELETE", path=one, handler=self.remove_user, summary="Remove a user and end its sessions",
                status=204, role=Role.ADMIN, audit="user removed",
            ),
        ]  # fmt: skip

    async def list_users(self, request: web.Request) -> web.Response:
        return answer(UserList(users=[_view(user) for user in self._users.list()]))

    async def add_user(self, request: web.Request) -> web.Response:
        user = await self._users.add(await read_body(request, NewUser))
        about(request, role=user.role)
        return answer(_view(user), 201)

    async def change_user(self, request: web.Request) -> web.Response:
        change = await read_body(request, UserChange)
        user = await self._users.change(request.match_info["name"], change)
        about(request, role=user.role)
        return answer(_view(user))

    async def remove_user(self, request: web.Request) -> web.Response:
        await self._users.remove(request.match_info["name"])
        return web.Response(status=204)


def _view(user: User) -> UserView:
    return UserView(name=user.name, role=user.role)
