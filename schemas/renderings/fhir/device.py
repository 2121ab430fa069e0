"""The AI model as Device."""

from __future__ import annotations

from fhir.resources.R4B.device import Device

from schemas.findings import ModelIdentity
from schemas.renderings.fhir.codes import MODEL_NAME, SOFTWARE_VERSION, WEIGHTS_SHA256
from schemas.renderings.fhir.envelope import Resource
from schemas.renderings.fhir.references import device_id
from schemas.renderings.fhir.resource import resource_of


def device_of(model: ModelIdentity) -> Resource:
    """Name, version and checksum: another checksum is another Device."""
    return resource_of(
        Device,
        {
            "id": str(device_id(model)),
            "status": "active",
            "deviceName": [{"name": model.name, "type": MODEL_NAME}],
            "version": [
                {"type": SOFTWARE_VERSION.concept(), "value": model.version},
                {"type": WEIGHTS_SHA256.concept(), "value": model.weights_sha256},
            ],
        },
    )
