"""Database: one SQLAlchemy engine, one thread that runs every statement, transactions shared by what waits together."""

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from relay.config import Settings
from relay.database.channels import ChannelsRepo
from relay.database.crypto import Cipher
from relay.database.recordings import RecordingsRepo
from relay.database.reencrypt import reencrypt
from relay.database.schema import VERSION, metadata
from relay.database.shares import SharesRepo
from relay.database.webhooks import WebhooksRepo
from relay.errors import ConfigError, RelayError
from relay.files import make_directory
from relay.redaction import known
from relay.secret import Secret

Result = TypeVar("Result")
Work = Callable[[sa.Connection], Result]
_MOST_TOGETHER = 200


class Database:
    """Opens (and migrates) the database of ``settings``; its repositories are its operations.

    ``run`` executes work in the writer thread, in the order given; what is queued at the same time shares one
    commit, so that durability costs one fsync, not one per call. A call cancelled before its turn does not
    happen; later than that it does. Raises ConfigError when the database cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        make_directory(settings.data_dir)
        url = settings.database or f"sqlite:///{_own_file(settings.data_dir / 'relay.db')}"
        self.cipher = Cipher(settings.data_dir / "secret.key")
        self.channels = ChannelsRepo(self.run, self.cipher)
        self.recordings = RecordingsRepo(self.run)
        self.shares = SharesRepo(self.run)
        self.webhooks = WebhooksRepo(self.run, self.cipher)
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._url = known.know(Secret(url))  # of a server, it has the password
        self._engine = _open(url)
        self._thread = threading.Thread(target=self._work, name="database", daemon=True)
        self._thread.start()

    async def run(self, work: Work[Result]) -> Result:
        """``work(connection)`` in the writer thread, inside a transaction. Its exceptions come back here."""
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Work[Result]) -> "Future[Result]":
        """Like ``run``, for threads. Raises RelayError once the database is closed."""
        future: Future[Result] = Future()
        with self._closing:
            if self._closed:
                raise RelayError("the database is closed: the relay is shutting down")
            self._queue.put((work, future))
        return future

    async def reencrypt(self) -> int:
        """Another key file, and all that is stored encrypted with its key. How many secrets that were.

        Whatever interrupts it, the key file understands what is stored, and the next start finishes. Raises OSError.
        """
        await asyncio.to_thread(self.cipher.begin)
        return await self.finish_reencrypting()

    async def finish_reencrypting(self) -> int:
        """What ``reencrypt`` does from where it was interrupted."""
        # Whatever was encrypted with the key before is in the queue already, before this.
        count = await self.run(lambda connection: reencrypt(connection, self.cipher))
        await asyncio.to_thread(self.cipher.finish)
        return count

    def close(self) -> None:
        """Finish what is queued, then close. Blocks for that long."""
        with self._closing:
            self._closed = True
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
                if not future.set_running_or_notify_cancel():
                    continue
                # A savepoint each: one call's failure must not undo its neighbours.
                try:
                    with connection.begin_nested():
                        result = work(connection)
                except Exception as error:  # noqa: BLE001 - it belongs to whoever asked, who gets it
                    future.set_exception(error)
                else:
                    done.append((future, result))
            connection.commit()
        except Exception as error:  # noqa: BLE001 - likewise; the thread serves those who come after
            connection.rollback()
            for future, _ in done:
                future.set_exception(error)
            return
        for future, result in done:
            future.set_result(result)


def _own_file(path: Path) -> Path:
    """``path``, made if need be, for its owner's eyes only; SQLite gives the files beside it the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return path.resolve()


def _open(url: str) -> sa.Engine:
    """The engine of ``url``, its schema brought up to date. Raises ConfigError that says what to do."""
    try:
        shown = sa.engine.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError as error:
        raise ConfigError(
            "database is not a URL; write postgresql+psycopg://USER@HOST/NAME, or leave it out"
        ) from error
    try:
        engine = sa.create_engine(url, hide_parameters=True)  # errors are logged; rows are nobody's business
        if engine.dialect.name == "sqlite":
            _configure_sqlite(engine)
        try:
            _prepare(engine)
        except BaseException:
            engine.dispose()
            raise
    except ImportError as error:
        raise ConfigError(
            f"the driver of {shown} is not installed: {error}; for postgresql+psycopg:// run "
            ".venv/bin/pip install 'psycopg[binary]'"
        ) from error
    except sa.exc.SQLAlchemyError as error:
        raise ConfigError(f"cannot open the database {shown}: {getattr(error, 'orig', None) or error}") from error
    return engine


def _configure_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        # The driver must not begin transactions: it leaves savepoints outside of them, each then a commit of its own.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def _prepare(engine: sa.Engine) -> None:
    """Make the schema where there is none, or bring it up to date. Raises ConfigError."""
    with engine.begin() as connection:
        tables = sa.inspect(connection).get_table_names()
        if not tables:
            metadata.create_all(connection)
            connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(sa.text("INSERT INTO alembic_version VALUES (:version)"), {"version": VERSION})
        elif connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() != VERSION:
            from relay.database.migrate import upgrade  # seldom needed, and a tenth of an idle relay's memory

            upgrade(connection)
