"""Which radiograph a request means: pixels or a file in it, an instance of the site's archive, an object of the site's store. No
other address is ever asked: a request cannot send this server anywhere (server-side request forgery)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from connectors.film_files import uid_of
from connectors.inference_served import Parameter, TensorMetadata
from connectors.inference_tensors import Tensor
from schemas.errors import InvalidResource, MalformedMessage, NotYet, Unsuitable
from schemas.findings import NotAnalysed
from schemas.identifiers import SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.ports import ObjectStore, Radiograph
from schemas.study_events import ImageReference
from schemas.study_ports import StudyArchive, StudyDescription
from streams.steps.choosing import IntendedUse, StudyHeaders, as_the_rules_read_it, choose, refusal

if TYPE_CHECKING:
    from connectors.film_files import FilmFiles

#: exactly one of them in a request
INPUTS = (
    TensorMetadata("image", ("UINT16", "UINT8", "FP32"), (-1, -1)),
    TensorMetadata("dicom", ("BYTES",), (1,), base64=True),
    TensorMetadata("url", ("BYTES",), (1,)),
    TensorMetadata("key", ("BYTES",), (1,)),
)
#: behind the address of the archive: PS3.18 10.4.1.1.1, Instance
_INSTANCE = re.compile(r"/studies/([0-9.]{1,64})/series/([0-9.]{1,64})/instances/([0-9.]{1,64})\Z")
#: names of objects, below the store's prefix: no empty part, none of dots alone, nothing that a store might read otherwise
_KEY = re.compile(r"(?!.{1025})(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9 ._=+@-]+(?:/(?!\Z)|\Z))+\Z")
#: PS3.10 7.1: behind a preamble of 128 bytes
_DICM = slice(128, 132)
#: of pixels without a file, by PS3.6 keyword
_HEADERS = {"Modality": "modality", "BodyPartExamined": "body_part_examined", "ViewPosition": "view_position"}
#: where it is true; PS3.3 10.7.1.3
_SPACINGS = {"PixelSpacing": "patient", "ImagerPixelSpacing": "detector"}
_SPACING = re.compile(r"(\d{1,3}(?:\.\d{1,12})?)\\(\d{1,3}(?:\.\d{1,12})?)\Z")


@dataclass(frozen=True, slots=True)
class Films:
    """`archive_url`: of the archive's DICOMweb, the only one of which `url` may name an instance. `objects` None: no store is set.
    `pixel_limit`, `size_limit`: of pixels, and of a file in bytes."""

    files: FilmFiles
    archive: StudyArchive
    archive_url: str
    objects: ObjectStore | None
    pixel_limit: int
    size_limit: int

    async def radiograph(self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter], use: IntendedUse) -> Radiograph:
        """As the model takes it. Raises MalformedMessage (the request), InvalidResource (the image), Unsuitable (not for this
        model), and what archive and store raise but for NotYet."""
        if len(inputs) != 1:
            _reject("inputs", f"exactly one of {', '.join(one.name for one in INPUTS)} is needed")
        [(name, tensor)] = inputs.items()
        if name == "image":
            return _taken(await asyncio.to_thread(self._of_pixels, tensor, parameters), None, use)
        content, expected = await self._content(name, tensor.values.ravel()[0])
        try:
            film = await self.files.read(content)
        except InvalidResource as error:
            raise InvalidResource(error.step, f"input {name}", error.reason) from None
        del content
        if expected is not None and film.radiograph.sop_instance_uid != expected:
            raise InvalidResource("fetch", f"input {name}", "the archive answered with another instance")
        said = film.radiograph if film.study is not None else _described(film.radiograph, parameters)
        return _taken(said, film.study, use)

    async def _content(self, name: str, value: bytes) -> tuple[bytes, SOPInstanceUID | None]:
        if name == "dicom":
            if value[_DICM] != b"DICM":
                _reject("input dicom", "is no DICOM file (PS3.10 7.1)")
            return value, None
        if name == "key":
            return await self._object(value), None
        study, image = self._instance(value)
        try:
            return await self.archive.instance(study, image), image.sop_instance_uid
        except NotYet:
            _reject("input url", "the archive does not give this instance")

    async def _object(self, value: bytes) -> bytes:
        if self.objects is None:
            _reject("input key", "no object store is set here")
        name = value.decode("utf-8", "replace")
        if not _KEY.match(name):
            _reject("input key", "is no name of an object of the site's store: letters, digits and ._=+@- between slashes")
        content = await self.objects.get(name)
        if content is None:
            _reject("input key", "there is no such object in the site's store")
        if len(content) > self.size_limit:
            _reject("input key", f"the object is larger than {self.size_limit} bytes")
        return content

    def _instance(self, value: bytes) -> tuple[StudyInstanceUID, ImageReference]:
        address, below = value.decode("utf-8", "replace"), self.archive_url.rstrip("/")
        found = _INSTANCE.match(address.removeprefix(below)) if address.startswith(below) else None
        if found is None:
            _reject("input url", "is no instance of the archive of this server: .../studies/UID/series/UID/instances/UID")
        try:
            study, series, instance = StudyInstanceUID(found[1]), SeriesInstanceUID(found[2]), SOPInstanceUID(found[3])
        except ValueError:
            _reject("input url", "one of its UIDs is none (PS3.5 9.1)")
        return study, ImageReference(series_instance_uid=series, sop_instance_uid=instance, sop_class_uid="")

    def _of_pixels(self, tensor: Tensor, parameters: Mapping[str, Parameter]) -> Radiograph:
        values = tensor.values
        if not 0 < values.size <= self.pixel_limit:
            _reject("input image", f"has no pixels, or more than {self.pixel_limit}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            _reject("input image", "holds what is no number")
        content = np.ascontiguousarray(values).tobytes()
        uid, digest = uid_of(content), sha256(content).hexdigest()
        floats = values.dtype.kind == "f"
        return _described(Radiograph(uid, values.astype(np.float32) if floats else values.astype(np.uint16), digest), parameters)


def _described(radiograph: Radiograph, parameters: Mapping[str, Parameter]) -> Radiograph:
    """What the request says of an image that has no headers."""
    said: dict[str, object] = {}
    for keyword in (*_HEADERS, *_SPACINGS):
        value = parameters.get(keyword)
        if value is None:
            continue
        if keyword in _HEADERS:
            if not isinstance(value, str) or len(value) > 16:  # CS, PS3.5 6.2
                _reject(f"parameter {keyword}", "is no text of at most 16 characters")
            said[_HEADERS[keyword]] = value
            continue
        spacing = _SPACING.match(value) if isinstance(value, str) else None
        if spacing is None:
            _reject(f"parameter {keyword}", "is no row\\column in mm")
        if "pixel_spacing_mm" not in said:
            said |= {"pixel_spacing_mm": (float(spacing[1]), float(spacing[2])), "pixel_spacing_plane": _SPACINGS[keyword]}
    return replace(radiograph, **said)  # type: ignore[arg-type]


def _taken(radiograph: Radiograph, study: StudyDescription | None, use: IntendedUse) -> Radiograph:
    """By the rules of the analyse step, both times that it looks at the headers. What nobody says of an image without headers is
    taken for what the model is for: the gate still looks at the pixels."""
    refused: NotAnalysed | None = None
    if study is not None:
        chosen = choose(study.images, use, StudyHeaders(study.patient_age_years, study.study_description))
        refused = chosen if isinstance(chosen, NotAnalysed) else None
    else:
        radiograph = replace(
            radiograph,
            modality=radiograph.modality or min(use.modalities, default=None),
            body_part_examined=radiograph.body_part_examined or min(use.body_parts, default=None),
            view_position=radiograph.view_position or (min(use.view_positions, default=None) if use.view_required else None),
        )
    if refused := refused or refusal(radiograph, use):
        raise Unsuitable("serve", radiograph.sop_instance_uid, refused.explanation, refused.reason)
    return as_the_rules_read_it(radiograph, use)


def _reject(where: str, why: str) -> NoReturn:
    raise MalformedMessage("serve", where, why) from None
