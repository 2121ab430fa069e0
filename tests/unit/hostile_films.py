"""What a decoding process may meet: runs in it, in the place of `connectors.decoding_files.read_film`."""

from __future__ import annotations

import os
import signal

from connectors.decoding_files import Film
from schemas.identifiers import SOPInstanceUID


def ends_or_hangs(content: bytes, unnamed: SOPInstanceUID, pixel_limit: int, *, inverted: bool) -> Film:
    if content == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while True:
        signal.pause()
