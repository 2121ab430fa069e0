"""The AI model as Device."""

from __future__ import annotations

from fhir.resources.R4B.device import Device

from schemas.findings import ModelIdentity
from schemas.renderings.fhir.codes import MODEL_NAME, SOFTWARE_VERSION, WEIGHTS_SHA256
from schemas.renderings.fhir.references import device_id


def device_of(model: ModelIdentity) -> Device:
    """Name, version and checksum: another checksum is another Device."""
    return Device.model_validate(
        {
            "id": str(device_id(model)),
            "status": "active",
            "deviceName": [{"name": model.name, "type": MODEL_NAME}],
            "version": [
                {"type": SOFTWARE_VERSION.concept(), "value": model.version},
                {"type": WEIGHTS_SHA256.concept(), "value": model.weights_sha256},
            ],
        }
    )
