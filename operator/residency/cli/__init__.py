"""The doors: argument parsing and wiring only."""
