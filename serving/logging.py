"""Structured logs on stderr: JSON lines, or readable ones on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import msgspec
import structlog

LEVEL_VARIABLE = "CROSSKEY_LOG_LEVEL"
"""The environment variable that says from which level on lines are written; "info" if it is not set."""

_LEVELS = ("debug", "info", "warning", "error")


class UnknownLogLevel(Exception):
    """CROSSKEY_LOG_LEVEL names no level."""


def configure_logging(**bound: str | int | None) -> None:
    """Sets structlog up for this process; `bound` is added to every line, such as service="node" and shard=0.

    What is None is not.

    Warnings of libraries, which use Python's own logging, become lines like any other.
    Raises UnknownLogLevel.
    """
    level = os.environ.get(LEVEL_VARIABLE, "info").lower()
    if level not in _LEVELS:
        raise UnknownLogLevel(f"{LEVEL_VARIABLE} is {level!r}, which is none of {', '.join(_LEVELS)}")
    readable = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_readable_end() if readable else _json_end()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr) if readable else _json_logger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**{name: value for name, value in bound.items() if value is not None})
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)


class _FromLibraries(logging.Handler):
    """Passes on what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs the message with the name of its logger, and its exception if it has one."""
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _readable_end() -> list[structlog.typing.Processor]:
    return [structlog.dev.ConsoleRenderer()]


def _json_end() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]


def _json_logger(*_: Any) -> structlog.BytesLogger:
    return structlog.BytesLogger(sys.stderr.buffer)


def _to_json(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)
