"""Logging: structlog to stderr, JSON unless a terminal reads it; the standard library's loggers come along."""

import logging
import sys

import structlog

from relay.config import LogSettings


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
    structlog.configure(
        processors=[*shared, *listeners, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
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


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether it is worth a line: a request that is no HTTP has been answered, and anybody can send any number."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__module__ != "aiohttp.http_exceptions"
