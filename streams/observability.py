"""Logs: one line an event, references only. Client libraries are silenced where they print what they carry.

There is deliberately no formatter of exception messages: those of libraries quote the input (a name, a number).
"""

from __future__ import annotations

import logging
import sys

import structlog

#: seen leaking: HTTP clients print URLs with identifiers, Kafka clients print record values in errors
_MINUTE_S = 60.0
_TALKATIVE = ("urllib3", "requests", "aiokafka", "kafka", "faust", "mode", "pydicom", "pynetdicom", "sqlalchemy")


class _NowAndThen(logging.Filter):
    """Passes a message of a library once a minute, whatever it fills in: a broker that is away is told sixty times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        told = (record.name, str(record.msg))
        if record.created - self._last.get(told, 0) < _MINUTE_S:
            return False
        self._last[told] = record.created
        return True


def configure_logging(role: str) -> None:
    """Once per process, before anything else logs."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_NowAndThen())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR if name in ("aiokafka", "kafka", "pydicom") else logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if sys.stderr.isatty()
            else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "role", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(role=role)
