"""What libraries log: not what they carry, and not sixty times a second."""

from __future__ import annotations

import subprocess
import sys

#: in a process of its own: logging is configured once per process
ROLE = """
import logging
from streams.observability import configure_logging

configure_logging("test")
for node in range(1000):
    logging.getLogger("aiokafka").error("Unable connect to node with id %s", node)
logging.getLogger("aiokafka").error("something else")
logging.getLogger("urllib3").info("GET /Patient?identifier=MRN-4711")
"""


def test_a_library_repeats_itself_once_a_minute_and_shows_no_url() -> None:
    said = subprocess.run([sys.executable, "-c", ROLE], capture_output=True, text=True, check=True).stderr
    assert said.count("Unable connect") == 1
    assert "something else" in said
    assert "MRN-4711" not in said
