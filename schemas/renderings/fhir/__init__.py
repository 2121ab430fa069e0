"""Findings as FHIR R4: `bundle.bundle_of` writes, `envelope.open_bundle` reads what delivery needs (without fhir.resources)."""
