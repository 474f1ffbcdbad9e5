"""Database: one SQLAlchemy engine, one thread that runs every statement, transactions shared by what waits together."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from relay.config import Settings
from relay.database.channels import ChannelsRepo
from relay.database.crypto import Cipher
from relay.database.recordings import RecordingsRepo
from relay.errors import ConfigError

Result = TypeVar("Result")
Work = Callable[[sa.Connection], Result]
_MIGRATIONS = Path(__file__).parent / "migrations"
_MOST_TOGETHER = 200


class Database:
    """Opens (and migrates) the database of ``settings``; ``channels`` and ``recordings`` are its operations.

    ``run`` executes work in the writer thread, in the order given; what is queued at the same time shares one
    commit, so that durability costs one fsync, not one per call. Raises ConfigError when it cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        url = settings.database or f"sqlite:///{(settings.data_dir / 'relay.db').resolve()}"
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        try:
            self._engine = _open(url)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            shown = sa.engine.make_url(url).render_as_string(hide_password=True) if "://" in url else url
            raise ConfigError(f"cannot open the database {shown}: {error.__class__.__name__}: {error}") from error
        self._thread = threading.Thread(target=self._work, name="database", daemon=True)
        self._thread.start()
        cipher = Cipher(settings.data_dir / "secret.key")
        self.cipher = cipher
        self.channels = ChannelsRepo(self.run, cipher)
        self.recordings = RecordingsRepo(self.run)

    async def run(self, work: Work[Result]) -> Result:
        """``work(connection)`` in the writer thread, inside a transaction. Its exceptions come back here."""
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Work[Result]) -> "Future[Result]":
        """Like ``run``, for threads."""
        future: Future[Result] = Future()
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish what is queued, then close. Blocks for that long."""
        self._queue.put(None)
        self._thread.join()
        self._engine.dispose()

    def _work(self) -> None:
        with self._engine.connect() as connection:
            while (item := self._queue.get()) is not None:
                together = [item]
                last = False
                while len(together) < _MOST_TOGETHER and not self._queue.empty():
                    following = self._queue.get()
                    if following is None:
                        last = True
                        break
                    together.append(following)
                self._commit(connection, together)
                if last:
                    return

    def _commit(self, connection: sa.Connection, together: list[tuple[Work[Any], "Future[Any]"]]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            for work, future in together:
                # A savepoint each: one call's failure must not undo its neighbours.
                try:
                    with connection.begin_nested():
                        done.append((future, work(connection)))
                except Exception as error:  # noqa: BLE001 - it belongs to whoever asked, who gets it
                    future.set_exception(error)
            connection.commit()
        except sa.exc.SQLAlchemyError as error:
            connection.rollback()
            for future, _ in done:
                future.set_exception(error)
            return
        for future, result in done:
            future.set_result(result)


def _open(url: str) -> sa.Engine:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def configure(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return engine
