"""Residency: keeps classified workloads on nodes that may hold their data."""

__version__ = "0.1.0"
