"""The open connections of this process, so that an answer that comes later finds the one it belongs to and no other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

Tell = Callable[[int, bytes], None]


class Conversations:
    """`process` is a name that no other process has or had: an address holds it, and is good for this process alone."""

    def __init__(self, process: str) -> None:
        self._prefix = f"{process}/"
        self._numbers = count(1)
        self._open: dict[str, Tell] = {}

    def open(self, tell: Tell) -> str:
        """The address of a connection; with /n behind it, of the n-th message on it."""
        address = f"{self._prefix}{next(self._numbers)}"
        self._open[address] = tell
        return address

    def close(self, address: str) -> None:
        self._open.pop(address, None)

    def ours(self, address: str) -> bool:
        return address.startswith(self._prefix)

    def tell(self, address: str, answer: bytes) -> bool:
        """Hands an answer (HL7, not framed) to the connection of `address`. False when that is closed."""
        connection, _, number = address.rpartition("/")
        tell = self._open.get(connection)
        if tell is None or not number.isdecimal():
            return False
        tell(int(number), answer)
        return True
