"""Tables and texts of the story, drawn from what was seen; at home in 100 columns."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from demo.refusals import Outcome
from demo.sight import Node, Pod
from residency.api.names import Fact

# By how sovereign a pool is; more pools than colours begin again.
_COLOURS: Final = ("green", "cyan", "yellow", "magenta")
_VALUES_SHOWN: Final = 2
_NONE: Final = "·"
_DENIED: Final = "denied request: "
_FACTS: Final = (Fact.COUNTRY, Fact.CONTROLLED_FROM, Fact.DEPLOYMENT_MODEL, Fact.PROVIDER, Fact.SEAL)


@dataclass(frozen=True, slots=True)
class Row:
    """A workload in the table of what runs where."""

    kind: str
    name: str
    pods: Sequence[Pod]
    how: str


@dataclass(frozen=True, slots=True)
class Term:
    """A node selector term: what its author wrote, and what was added to it."""

    written: Sequence[Mapping[str, object]]
    added: Sequence[Mapping[str, object]]


class Palette:
    """Gives every pool a colour and keeps it."""

    def __init__(self, pools: Iterable[str]) -> None:
        self.colours = {pool: _COLOURS[number % len(_COLOURS)] for number, pool in enumerate(pools)}

    def name(self, pool: str) -> Text:
        """The name of a pool."""
        return Text(pool, style=f"bold {self.colours[pool]}")

    def names(self, pools: Iterable[str]) -> str:
        """Names of pools as markup, in the order of the table."""
        wanted = set(pools)
        return ", ".join(f"[{colour}]{pool}[/]" for pool, colour in self.colours.items() if pool in wanted) or "none"

    def counts(self, pools: Mapping[str, Sequence[Node]], pods: Sequence[Pod]) -> list[Text]:
        """How many of the pods run in each of the pools."""
        running = [{node.name for node in nodes} for nodes in pools.values()]
        counts = [sum(pod.node in names for pod in pods) for names in running]
        return [
            Text(str(count), f"bold {colour}") if count else Text(_NONE, "dim")
            for count, colour in zip(counts, self.colours.values(), strict=True)
        ]


def machines(palette: Palette, pools: Mapping[str, Sequence[Node]]) -> RenderableType:
    """The pools with their facts."""
    table = _table("pool", "nodes", "country", "controlled from", "deployment model", "run by", "SEAL", "taint")
    for pool, nodes in pools.items():
        told = [Text(nodes[0].fact(fact)) if nodes[0].fact(fact) else Text("?", "dim") for fact in _FACTS]
        taint = ", ".join(taint["key"] for taint in nodes[0].taints)
        table.add_row(palette.name(pool), str(len(nodes)), *told, Text(taint, style="dim"))
    return table


def classifications(palette: Palette, rows: Iterable[tuple[str, str, Sequence[str]]]) -> RenderableType:
    """Which pools each classification allows."""
    table = _table("classification", "what it is", *map(palette.name, palette.colours))
    for column in table.columns[2:]:
        column.justify, column.header_style = "center", "not dim"
    styles = {"yes": "green", "no": "dim"}
    for name, title, marks in rows:
        told = (Text({"no": _NONE}.get(mark, mark), style=styles.get(mark, "dim yellow")) for mark in marks)
        table.add_row(Text(name, style="bold"), Text(title, style="dim"), *told)
    legend = f"{_NONE} not allowed    tainted: allowed, but nothing there tolerates the taint of these nodes"
    return Group(table, Text(legend, style="dim"))


def workloads(
    palette: Palette, pools: Mapping[str, Sequence[Node]], groups: Mapping[tuple[str, str], Sequence[Row]]
) -> RenderableType:
    """Every workload below its namespace and classification: how many pods run where, and how they were placed."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for width in (23, 15, 5):
        table.add_column(width=width)
    for pool in pools:
        table.add_column(width=len(pool) + 1, justify="center")
    table.add_column()
    table.add_row("", "", Text("pods ", "dim"), *map(palette.name, pools), "")
    table.add_row("", "", "", *(Text(_place(nodes[0]), "dim") for nodes in pools.values()), Text("placed", "dim"))
    parts: list[RenderableType] = [table]
    for (namespace, by), rows in groups.items():
        parts.append(Text.assemble((namespace, "bold"), "  ", (by or "not classified", "blue" if by else "dim")))
        table = _columns_of(table)
        for row in rows:
            table.add_row("  " + row.kind, row.name, f"{len(row.pods):3}", *palette.counts(pools, row.pods), row.how)
        parts.append(table)
    return Group(*parts)


def scaled(palette: Palette, pools: Mapping[str, Sequence[Node]], rows: Iterable[tuple[Row, int]]) -> RenderableType:
    """How many pods each application had and has, and where those run; `Row.how` says by which classification."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row, before in rows:
        change = Text(f"{before:2} → {len(row.pods):2}")
        counts = palette.counts(pools, row.pods)
        where = [
            Text.assemble(count, " ", (pool, palette.colours[pool]))
            for pool, count in zip(pools, counts, strict=True)
            if count.plain != _NONE
        ]
        table.add_row("  " + row.name, change, Text(", ").join(where), Text(row.how, "blue"))
    return table


def terms(shown: Iterable[Term]) -> RenderableType:
    """What was added to every term of an affinity: its author's words, and below them what was added."""
    lines = []
    for number, term in enumerate(shown, 1):
        lines.append(Text.assemble((f"{number}   ", "dim"), "  ".join(map(_expression, term.written))))
        lines.append(Text("    + " + " + ".join(map(_expression, term.added)), "green"))
    return Group(*lines)


def refusal(number: int, outcome: Outcome) -> RenderableType:
    """A refusal with its whole message."""
    return Group(
        Text.assemble((f"{number:2}  ", "dim"), (outcome.attempt.title, "bold")),
        Text(f"    $ {outcome.attempt.typed}", style="cyan"),
        Padding(_message(outcome), (0, 0, 0, 4)),
    )


def hanging(left: Text, right: Text) -> RenderableType:
    """A text beside its mark."""
    line = Table.grid()
    line.add_column(no_wrap=True)
    line.add_column()
    line.add_row(left, right)
    return line


def spread(left: Text, right: Text) -> RenderableType:
    """Two texts at the two ends of a line."""
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right", no_wrap=True)
    line.add_row(left, right)
    return line


def _table(*headers: str | Text) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 0, 0, 0))
    for header in headers:
        table.add_column(header)
    return table


def _columns_of(table: Table) -> Table:
    """An empty table with the same columns."""
    other = Table.grid(padding=table.padding)
    for column in table.columns:
        other.add_column(width=column.width, justify=column.justify)
    return other


def _place(node: Node) -> str:
    return "/".join(node.fact(fact) or "?" for fact in (Fact.COUNTRY, Fact.CONTROLLED_FROM))


def _expression(expression: Mapping[str, object]) -> str:
    """A requirement as kubectl writes selectors, long lists cut."""
    values = expression.get("values")
    listed = [str(value) for value in values] if isinstance(values, list) else []
    key, operator = str(expression["key"]).rpartition("/")[2], str(expression["operator"]).lower()
    if operator == "in" and len(listed) == 1:
        return f"{key}={listed[0]}"
    shown = ",".join(listed[:_VALUES_SHOWN]) + (f",… {len(listed)}" if len(listed) > _VALUES_SHOWN else "")
    return f"{key} {operator} ({shown})" if listed else f"{key} {operator}"


def _message(outcome: Outcome) -> Text:
    """The message, with what kubectl and the API server put before it in a dim voice, and the fix standing out."""
    before, _, said = outcome.said.partition(_DENIED)
    if not said:
        before, said = "", outcome.said
    message = Text(said)
    message.highlight_regex(re.compile(r"Fix: .*?(?= Why: | RES-\d|$)"), "green")
    message.highlight_regex(re.compile(r"RES-\d+"), "bold red")
    return Text.assemble((before and before + _DENIED, "dim"), message)
