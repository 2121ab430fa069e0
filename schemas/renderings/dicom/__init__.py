"""Findings as DICOM objects for the archive; beside renderings/fhir, the home of highdicom."""
