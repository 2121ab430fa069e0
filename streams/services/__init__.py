"""Kafka, Orthanc and a FHIR server on this machine, without containers: for a demo, for tests, for looking around.

with running_services(folder, ServicePorts.free()) as services:
    services.kafka_bootstrap, services.dicomweb_url, services.fhir_url
"""

from streams.services.local import LocalServices, ServiceStatus, running_services
from streams.services.ports import ServicePorts
from streams.services.service import ServiceError

__all__ = ["LocalServices", "ServiceError", "ServicePorts", "ServiceStatus", "running_services"]
