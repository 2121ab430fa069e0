"""Receivers of findings that are told each state in their own idiom: the port `schemas.reporting.ReportingSystem`."""
