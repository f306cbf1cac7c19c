"""What Residency adds to the creation of a pod, measured on a real API server; run by ``make bench``."""
