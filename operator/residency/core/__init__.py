"""Pure: requirements, placement and the judge; no I/O, no clock, no kopf, no kubernetes."""
