"""Minimal Lower Layer Protocol (HL7 Transport: MLLP release 1) without I/O: <SB> content <EB><CR>.

Every byte that is fed comes out again, in a Frame or as Garbage; only line ends and blanks between frames are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c"
CARRIAGE_RETURN = b"\r"
_END = END_BLOCK + CARRIAGE_RETURN
#: what some senders write instead; an end only where nothing or a new frame follows
_BARE_ENDS = (END_BLOCK, END_BLOCK + b"\n")

#: a start block before one of these begins a new frame, even inside one whose end never came
_BEGINNINGS = (b"MSH", b"FHS", b"BHS")
_BLANK = b"\r\n \t"
#: stray bytes are handed out in pieces of this size at most, so that a peer who never sends a start block costs no memory
_STRAY_LIMIT = 64 * 1024
#: how far a frame's end is looked for before its beginnings are: else a peer that sends beginnings alone has all that it sent
#: searched again for each of them
_STEP = 4 * 1024


def frame(content: bytes) -> bytes:
    """One message as it goes over the wire."""
    return START_BLOCK + content + _END


class Fault(StrEnum):
    """Why bytes are no frame. A frame that is too large comes in pieces: TOO_LARGE first, then TOO_LARGE_REST."""

    STRAY = "bytes outside a frame"
    UNFINISHED = "a frame without its end"
    TOO_LARGE = "a frame over the size limit"
    TOO_LARGE_REST = "the rest of a frame over the size limit"


@dataclass(frozen=True, slots=True)
class Frame:
    """The content between the blocks."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that belong to no complete frame, without start and end block."""

    content: bytes
    fault: Fault


class FrameDecoder:
    """`limit`: largest content in bytes. Where the bytes are split between two calls changes nothing."""

    def __init__(self, limit: int = 20 * 1024 * 1024) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._inside = False
        self._oversize = False
        self._searched = 0

    @property
    def waiting(self) -> int:
        """Bytes held back until more come."""
        return len(self._buffer)

    @property
    def awaits_carriage_return(self) -> bool:
        """All but the last byte of a frame is here. Some senders never send it: then call `close`."""
        return self._inside and self._buffer.endswith(_BARE_ENDS)

    def feed(self, data: bytes) -> list[Frame | Garbage]:
        """What is complete now, in order."""
        if not (self._inside or self._buffer) and self._is_one_frame(data):
            return [Frame(data[1:-2])]  # what most senders send at a time
        self._buffer += data
        found: list[Frame | Garbage] = []
        while self._content(found) if self._inside else self._between(found):
            pass
        return found

    def _is_one_frame(self, data: bytes) -> bool:
        """From its start block to its end, with no other start or end between."""
        behind = len(data) - len(_END)
        return 0 < behind <= self._limit + 1 and data.rfind(START_BLOCK) == 0 and data.find(_END) == behind

    def close(self) -> list[Frame | Garbage]:
        """No more bytes will come, at least not to what was begun."""
        found: list[Frame | Garbage] = []
        if mark := self._bare_end(len(self._buffer)):
            found += self._end(self._pieces(found, len(self._buffer) - mark), mark)
        elif self._inside:
            found += self._unfinished(self._pieces(found, len(self._buffer)))
        else:
            self._stray(found, len(self._buffer))
        return found

    def _between(self, found: list[Frame | Garbage]) -> bool:
        """Up to the next start block. True when there is more to do."""
        at = self._buffer.find(START_BLOCK)
        end = at if at >= 0 else len(self._buffer)
        while end >= _STRAY_LIMIT:
            self._stray(found, _STRAY_LIMIT)
            end -= _STRAY_LIMIT
        if at < 0:
            return False
        self._stray(found, end)
        del self._buffer[:1]
        self._inside, self._oversize, self._searched = True, False, 0
        return True

    def _stray(self, found: list[Frame | Garbage], length: int) -> None:
        stray = self._take(length)
        if stray.strip(_BLANK):
            found.append(Garbage(stray, Fault.STRAY))

    def _content(self, found: list[Frame | Garbage]) -> bool:
        """Up to the end of this frame, or to the beginning of another one. True when there is more to do."""
        stop = min(self._searched + _STEP, len(self._buffer))
        end = self._buffer.find(_END, self._searched, stop)
        begin = self._next_beginning(end if end >= 0 else stop)
        if begin >= 0:
            if mark := self._bare_end(begin):  # its carriage return was left out
                found += self._end(self._pieces(found, begin - mark), mark)
            else:
                found += self._unfinished(self._pieces(found, begin))
            return True
        if end >= 0:
            found += self._end(self._pieces(found, end), mark=2)
            return True
        # the last three bytes may be the beginning of an end, or a start block whose letters are not all here; and the two before
        # that an end without carriage return, which only the letters make one
        more = stop < len(self._buffer)
        known = max(0, stop - 5)
        handed_out = known - self._pieces(found, known)
        self._searched = max(0, stop - 3) - handed_out
        return more

    def _next_beginning(self, before: int) -> int:
        at = self._searched - 1
        while (at := self._buffer.find(START_BLOCK, at + 1, before)) >= 0:
            if bytes(self._buffer[at + 1 : at + 4]) in _BEGINNINGS:
                return at
        return -1

    def _bare_end(self, before: int) -> int:
        """How many bytes an end block without carriage return takes there; 0: there is none."""
        return next((len(end) for end in _BARE_ENDS if self._inside and self._buffer.endswith(end, 0, before)), 0)

    def _pieces(self, found: list[Frame | Garbage], length: int) -> int:
        """Hands out full pieces of content that grows over the limit; `length` bytes are known to be content. Returns how
        many of them are left."""
        while length > self._limit:
            found.append(Garbage(self._take(self._limit), self._fault(Fault.TOO_LARGE)))
            self._oversize = True
            length -= self._limit
        return length

    def _end(self, length: int, mark: int) -> list[Frame | Garbage]:
        content = self._take(length)
        del self._buffer[:mark]
        ended: Frame | Garbage = Garbage(content, Fault.TOO_LARGE_REST) if self._oversize else Frame(content)
        self._inside = False
        return [ended]

    def _unfinished(self, length: int) -> list[Frame | Garbage]:
        content = self._take(length)
        self._inside = False
        return [Garbage(content, self._fault(Fault.UNFINISHED))] if content else []

    def _fault(self, otherwise: Fault) -> Fault:
        return Fault.TOO_LARGE_REST if self._oversize else otherwise

    def _take(self, length: int) -> bytes:
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken
