"""Users: who may sign in to the console by name, and what each may do. The admin token opens everything besides."""

import asyncio
import re
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from relay.control.fields import NAME, Name
from relay.control.models import Sent
from relay.errors import ConfigError, ConflictError, NotFoundError
from relay.files import write_file
from relay.secret import Secret

log = structlog.get_logger("relay.control")

FILE = "users.json"
# A password nobody has: an unknown name takes as long as a wrong password.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$vC/vWv4C1KxWndspto/dCw$qVxgefn4H2g+rH4yzX5omt97fJDKqqIDVFwaKX+ezsk"
Password = Annotated[str, StringConstraints(min_length=10, max_length=1024)]
RoleName = Literal["operator", "viewer"]


class Role(IntEnum):
    """What somebody may do; each may what those before it may.

    VIEWER looks, and sees no key. OPERATOR runs channels, destinations and recordings. ADMIN has the token, and
    alone changes users.
    """

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class NewUser(Sent):
    name: Name
    role: RoleName
    password: Password = Field(repr=False)


class UserChange(Sent):
    role: RoleName | None = None
    password: Password | None = Field(default=None, repr=False)


class UserView(BaseModel):
    name: str
    role: RoleName


class UserList(BaseModel):
    users: list[UserView]


class User(BaseModel):
    """One user as kept in the file. ``hash``: argon2id of the password, its parameters and salt included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    role: RoleName
    hash: str

    @property
    def rank(self) -> Role:
        return Role[self.role.upper()]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    users: list[User]


class Users:
    """The users of one relay, kept in ``users.json`` of its data directory. Few, and changed seldom."""

    def __init__(self, data_dir: Path) -> None:
        """Raises ConfigError for a file that cannot be read."""
        self._path = data_dir / FILE
        self._hasher = PasswordHasher()
        # One at a time: each takes 64 MiB while it lasts, and strangers can ask for it.
        self._hashing = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._users = {user.name: user for user in _read(self._path)}

    def list(self) -> Sequence[User]:
        """By name."""
        return [self._users[name] for name in sorted(self._users)]

    def find(self, name: str) -> User | None:
        return self._users.get(name)

    async def verify(self, name: str, password: Secret) -> User | None:
        """The user with that name and password; None, after as long a time, where there is none."""
        user = self._users.get(name)
        known = _NOBODY if user is None else user.hash
        try:
            async with self._hashing:
                await asyncio.to_thread(self._hasher.verify, known, password.reveal())
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return None
        return user

    async def add(self, wanted: NewUser) -> User:
        """Raises ConflictError where the name is taken."""
        async with self._changing:
            if wanted.name in self._users:
                raise ConflictError(f"there is already a user {wanted.name}; `relay user passwd` gives a new password")
            user = User(name=wanted.name, role=wanted.role, hash=await self._hash(wanted.password))
            await self._write({**self._users, user.name: user})
        log.info("user added", user=user.name, role=user.role)
        return user

    async def change(self, name: str, change: UserChange) -> User:
        """Another password, which ends the user's sessions, or another role. Raises NotFoundError."""
        async with self._changing:
            user = self._known(name)
            if change.password is not None:
                user = user.model_copy(update={"hash": await self._hash(change.password)})
            if change.role is not None:
                user = user.model_copy(update={"role": change.role})
            await self._write({**self._users, user.name: user})
        log.info("user changed", user=name, role=user.role, new_password=change.password is not None)
        return user

    async def remove(self, name: str) -> None:
        """Raises NotFoundError."""
        async with self._changing:
            self._known(name)
            await self._write({key: user for key, user in self._users.items() if key != name})
        log.info("user removed", user=name)

    def _known(self, name: str) -> User:
        user = self._users.get(name)
        if user is None:
            shown = name if re.fullmatch(NAME, name) else "of that name"
            raise NotFoundError(f"there is no user {shown}; `relay user list` shows those there are")
        return user

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _write(self, users: dict[str, User]) -> None:
        text = _File(users=[users[name] for name in sorted(users)]).model_dump_json(indent=1)
        await asyncio.to_thread(write_file, self._path, text.encode(), mode=0o600)
        self._users = users


def _read(path: Path) -> list[User]:
    try:
        return _File.model_validate_json(path.read_bytes()).users
    except FileNotFoundError:
        return []
    except (ValidationError, OSError) as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}); mend it, or remove it and add the users again"
        ) from error
