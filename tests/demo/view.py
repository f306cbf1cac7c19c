"""The voice of the demo: 100 columns, in colour where there is a terminal that wants it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from demo.checks import Failure
from demo.pictures import hanging, spread

WIDTH: Final = 100


@dataclass(slots=True)
class View:
    """Writes to a console."""

    console: Console
    _began: float = field(default_factory=time.monotonic)
    _chapters: int = 0

    @classmethod
    def of_terminal(cls) -> "View":
        """Write to standard output: as wide as the terminal up to a bound, at full width where there is none."""
        console = Console(highlight=False)
        # Not is_terminal, which FORCE_COLOR sets too where there is none.
        console.width = min(console.width, WIDTH) if console.file.isatty() else WIDTH
        return cls(console)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    def opening(self) -> None:
        """Say what this is."""
        title = Text("Residency: classified workloads run only where they may", style="bold")
        about = "A real Kubernetes control plane on this machine, with simulated nodes; all is read from it."
        self.show(Panel(Group(title, Text(about, style="dim")), box=box.ROUNDED, border_style="blue", padding=(0, 1)))

    def note(self, line: str) -> None:
        """Say what the control plane reports while it is built and started."""
        self.show(Text(f"  {line}", style="dim"))

    def done(self, what: str) -> None:
        """Say that a step is done."""
        self.show(spread(Text.assemble(("✓ ", "green"), what), self._clock()))

    def chapter(self, title: str, about: str) -> None:
        """Begin a chapter."""
        self._chapters += 1
        heading = Text.assemble((f" {self._chapters} ", "bold reverse blue"), (f" {title}", "bold"))
        self.show("", spread(heading, self._clock()), Text(about, style="dim"), "")

    def claim(self, holds: bool, text: str) -> None:
        """Say something that was checked, given as markup."""
        self.show(hanging(Text("✓ ", "green") if holds else Text("✗ ", "bold red"), Text.from_markup(text)))

    def error(self, text: str) -> None:
        """Say why the story could not be told to its end."""
        self.show(hanging(Text("✗ ", style="bold red"), Text(text)))

    def failures(self, failures: Sequence[Failure]) -> None:
        """Say what was not as claimed; nothing where there is nothing."""
        if not failures:
            return
        self.show("", Text(f"{len(failures)} of the claims did not hold:", style="bold red"))
        for failure in failures:
            self.error(str(failure))

    def summary(self, lines: Sequence[str], good: bool) -> None:
        """End the story with some lines of markup."""
        body = Group(*map(Text.from_markup, lines))
        self.show("", Panel(body, box=box.ROUNDED, border_style="green" if good else "red", padding=(0, 1)))

    def paragraph(self, text: str) -> None:
        """Say something as it is; lines that are to be copied are never broken."""
        self.console.print(text, markup=False, soft_wrap=True)

    def show(self, *what: RenderableType) -> None:
        """Show something drawn elsewhere."""
        for each in what:
            self.console.print(each)

    @contextmanager
    def counting(self) -> Iterator[Callable[[str, bool], None]]:
        """Show a line that changes, where there is a terminal; it leaves nothing behind."""
        if not self.console.file.isatty():
            yield lambda _text, _good: None
            return
        with Live(console=self.console, transient=True, auto_refresh=False) as live:

            def tell(text: str, good: bool) -> None:
                live.update(Text(f"  {text}", style="bold" if good else "bold red"), refresh=True)

            yield tell

    def _clock(self) -> Text:
        return Text(f"{self.seconds:5.1f} s", style="dim")
