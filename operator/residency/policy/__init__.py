"""Placement to CEL: the admission policies as plain objects; no I/O."""
