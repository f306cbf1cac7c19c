"""The doors: argument parsing and wiring only."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from residency import __version__
from residency.cli import controller, render


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2, as shells expect of wrong usage."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _Parser(prog="residency", description="Keeps classified workloads on nodes that may hold their data.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    controller.add_to(commands)
    render.add_to(commands)
    commands.add_parser("version", help="print the version")
    options = parser.parse_args(arguments)
    if options.command == "version":
        sys.stdout.write(f"{__version__}\n")
        return 0
    if options.command == "render":
        return render.run(options)
    return controller.run(options)
