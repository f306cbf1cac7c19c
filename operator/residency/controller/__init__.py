"""Where kopf, the Lease and the reconciliation live; thin."""
