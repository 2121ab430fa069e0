"""Whoever changes checkpoints, on their topic or in their file; and every edit of both kinds."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.checkpoints import CheckpointSigned
from schemas.ports import Place, Record
from streams.audit.chain import BEGINNING, linked
from streams.audit.signing import Signer, value_of
from streams.audit.verified import Told
from tests.unit.notarised import CHECKPOINTS, Notarised
from tests.unit.tampered_records import TamperedRecords

OTHER = Signer(Ed25519PrivateKey.from_private_bytes(b"7" * 32))


class Scene(TamperedRecords):
    """In the hands of somebody who changes the checkpoints on their topic, or the file, too."""

    @property
    def checkpoints(self) -> list[Record]:
        return self.log.records_of[CHECKPOINTS, 0]

    def expect_words(self, words: str) -> None:
        self.expected.append(lambda fault: fault.kind == "checkpoint" and words in fault.line())

    def edit_checkpoint(self) -> None:
        at = self.chance.randrange(len(self.checkpoints))
        value = bytearray(self.checkpoints[at].value)
        value[self.chance.randrange(len(value))] ^= 1
        self.checkpoints[at] = replace(self.checkpoints[at], value=bytes(value))
        self.expect_words(f"{CHECKPOINTS}/0/{at}:")
        self.expect_words(f"lacks checkpoints {at + 1}")

    def delete_checkpoint(self) -> None:
        at = self.chance.randrange(len(self.checkpoints))
        del self.checkpoints[at]
        self.expect_words(f"{CHECKPOINTS}: lacks checkpoints {at + 1}")

    def truncate_checkpoints(self) -> None:
        at = self.chance.randrange(1, len(self.checkpoints))
        del self.checkpoints[at:]
        self._end(Place(CHECKPOINTS, 0, at), at)
        self.expect_words(f"{CHECKPOINTS}: lacks checkpoints {at + 1}")

    def reorder_checkpoints(self) -> None:
        one, two = sorted(self.chance.sample(range(len(self.checkpoints)), 2))
        first, second = self.checkpoints[one], self.checkpoints[two]
        self.checkpoints[one], self.checkpoints[two] = replace(second, place=first.place), replace(first, place=second.place)
        self.expect_words(f"{CHECKPOINTS}/0/{two}: checkpoint {one + 1} stands behind {two + 1}")

    def replace_checkpoint(self) -> None:
        """By an older one."""
        at = self.chance.randrange(1, len(self.checkpoints))
        self.checkpoints[at] = replace(self.checkpoints[at - 1], place=self.checkpoints[at].place)
        self.expect_words(f"{CHECKPOINTS}: lacks checkpoints {at + 1}")

    def sign_with_another_key(self) -> None:
        at = self.chance.randrange(len(self.checkpoints))
        forged = OTHER.signed(CheckpointSigned.model_validate_json(self.checkpoints[at].value))
        self.checkpoints[at] = replace(self.checkpoints[at], value=value_of(forged))
        self.expect_words(f"{CHECKPOINTS}/0/{at}: is signed with another key")

    def sign_all_with_another_key(self) -> None:
        """A record is changed, and everything behind it on topic and file is made to fit."""
        records, at = self.pick()
        place = records[at].place
        records[at] = replace(records[at], value=b"made up")
        head, heads = BEGINNING, {}
        for record in records:
            head = linked(head, record)
            heads[record.place.offset + 1] = head
        previous = CheckpointSigned.model_validate_json(self.checkpoints[0].value).previous
        for number, record in enumerate(self.checkpoints):
            old = CheckpointSigned.model_validate_json(record.value)
            ours = (old.topic, old.partition) == (place.topic, place.partition)
            signed = OTHER.signed(old.model_copy(update={"previous": previous} | ({"chain": heads[old.end].hex()} if ours else {})))
            self.checkpoints[number] = replace(record, value=value_of(signed))
            previous = sha256(value_of(signed)).hexdigest()
        self.lines = [one.value for one in self.checkpoints]
        self.expect_words(f"{CHECKPOINTS}/0/0: is signed with another key")
        self.expect_words(f"{self.file}:1: is signed with another key")

    def line(self) -> int:
        """Not of the last look: of those the notary may not have written any yet."""
        last = json.loads(self.lines[-1])["time"]
        return self.chance.choice([at for at, line in enumerate(self.lines) if json.loads(line)["time"] != last])

    def edit_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        line = bytearray(self.lines[at])
        line[self.chance.randrange(len(line))] ^= 1
        self.lines[at] = bytes(line)
        self.expect_words(f"{self.file}:{at + 1}: ")

    def delete_line(self) -> None:
        at = self.line()
        del self.lines[at]
        self.expect_words(f"{self.file}: lacks checkpoints {at + 1}")

    def truncate_file(self) -> None:
        at = self.line()
        del self.lines[at:]
        self.expect_words(f"{self.file}: lacks checkpoints {at + 1}")

    def reorder_lines(self) -> None:
        one, two = sorted(self.chance.sample(range(len(self.lines)), 2))
        self.lines[one], self.lines[two] = self.lines[two], self.lines[one]
        self.expect_words(f"{self.file}:{two + 1}: checkpoint {one + 1} stands behind {two + 1}")

    def repeat_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        self.lines.insert(at, self.lines[at])
        self.expect_words(f"{self.file}:{at + 2}: checkpoint {at + 1} stands there twice")

    def replace_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        self.lines[at] = value_of(OTHER.signed(CheckpointSigned.model_validate_json(self.lines[at])))
        self.expect_words(f"{self.file}:{at + 1}: is signed with another key")

    def put_in_a_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        self.lines.insert(at, b"what is this?")
        self.expect_words(f"{self.file}:{at + 1}: is no checkpoint")

    def empty_file(self) -> None:
        self.lines = []
        self.expect_words(f"{self.file}: lacks checkpoints 1-{len(self.checkpoints)}")

    async def verified(self) -> Told:
        self.file.write_bytes(b"".join(line + b"\n" for line in self.lines))
        scene = Notarised.__new__(Notarised)
        scene.folder, scene.signer = self.file.parent, self.of.signer
        return await scene.verify(self.log)


EDITS: list[Callable[[Scene], None]] = [
    Scene.edit_value,
    Scene.edit_key,
    Scene.edit_header,
    Scene.edit_timestamp,
    Scene.delete,
    Scene.delete_and_close_up,
    Scene.reorder,
    Scene.truncate,
    Scene.truncate_and_write_on,
    Scene.splice,
    Scene.replace_by_another,
    Scene.edit_checkpoint,
    Scene.delete_checkpoint,
    Scene.truncate_checkpoints,
    Scene.reorder_checkpoints,
    Scene.replace_checkpoint,
    Scene.sign_with_another_key,
    Scene.sign_all_with_another_key,
    Scene.edit_line,
    Scene.delete_line,
    Scene.truncate_file,
    Scene.reorder_lines,
    Scene.repeat_line,
    Scene.replace_line,
    Scene.put_in_a_line,
    Scene.empty_file,
]


async def scene_of(whole: Notarised, folder: Path, seed: int) -> Scene:
    file = folder / "checkpoints.jsonl"
    shutil.copy(whole.file, file)
    return Scene(whole, await whole.tampered(), file, random.Random(seed))
