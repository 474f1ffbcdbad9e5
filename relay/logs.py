"""Logging: structlog to stderr, JSON unless a terminal reads it; whatever else would be written comes along, no secret.

Every line, its traceback included, goes through ``redaction.known`` last, when it is all text.
"""

import asyncio
import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog

from relay.config import LogSettings
from relay.log_quota import LogQuota
from relay.redaction import known

log = structlog.get_logger("relay")


def setup_logs(settings: LogSettings, *listeners: structlog.types.Processor) -> None:
    """Configure structlog and the standard library for the whole process. Call once, before anything logs.

    ``listeners`` see each event of the relay's own before it is written.
    """
    level = getattr(logging, settings.level.upper())
    pretty = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _in_one_line,
    ]
    renderer: list[structlog.types.Processor] = (
        # Rich tracebacks would show what each frame holds, keys among it.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    renderer.append(_censored)
    structlog.configure(
        processors=[LogQuota(), *shared, *listeners, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    # What nobody catches is written by the interpreter itself, as it is: these are told instead.
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handler of a loop's errors. A TLS handshake that fails in the moment it is given up is nobody's any more.

    Whoever waited was cancelled then and has its own reason; the loop would tell of the other one as of a fault.
    """
    future, error = context.get("future"), context.get("exception")
    if isinstance(error, OSError) and isinstance(future, asyncio.Future) and not isinstance(future, asyncio.Task):
        log.info("a connection failed that was given up", reason=str(error))
    else:
        loop.default_exception_handler(context)


def _censored(_: structlog.types.WrappedLogger, __: str, line: Any) -> str:
    """The last processor: the whole line, without what is secret in it."""
    return known.censor(str(line))


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the relay failed", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None:
        log.critical("a thread failed", exc_info=(told.exc_type, told.exc_value, told.exc_traceback))


def _unraisable(told: Any) -> None:
    if told.exc_value is not None:
        log.error("an error that could not be raised", exc_info=(told.exc_type, told.exc_value, told.exc_traceback))


def _in_one_line(
    _: structlog.types.WrappedLogger, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """What strangers chose breaks no line and moves no cursor. Tracebacks, which are ours, are made later."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(
                letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in value
            )
    return event
