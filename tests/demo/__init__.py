"""``make demo``: Residency on a real control plane, told as a story in which every claim is checked."""
