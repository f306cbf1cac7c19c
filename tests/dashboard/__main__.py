"""``python -m dashboard``: write the panels into the chart, as Grafana reads them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dashboard.panels import ROWS, Json, Panel

FILE: Final = Path(__file__).parents[2] / "charts" / "residency" / "files" / "dashboards" / "residency.json"
COLUMNS: Final = 24
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def main() -> int:
    """Write the file."""
    FILE.write_text(rendered())
    print(f"{FILE.name}: {sum(map(len, ROWS.values()))} panels in {len(ROWS)} rows")
    return 0


def rendered() -> str:
    """The file's content."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> Json:
    return {
        "uid": "residency",
        "title": "Residency",
        "description": "What classified data asks of nodes, and where its pods really run.",
        "tags": ["residency", "kubernetes"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _classification()]},
        "panels": list(_panels()),
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _classification() -> Json:
    query = "label_values(residency_pods, classification)"
    return {
        "name": "classification",
        "label": "Classification",
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "classifications"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[Json]:
    top, number = 0, 1
    for title, panels in ROWS.items():
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, top)}
        top, left, number = top + 1, 0, number + 1
        for panel in panels:
            if left + panel.width > COLUMNS:
                top, left = top + panel.height, 0
            yield _panel(panel, number, _at(left, top, panel.width, panel.height))
            left, number = left + panel.width, number + 1
        top += panels[-1].height


def _at(left: int, top: int, width: int = COLUMNS, height: int = 1) -> Json:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        # As often as the chart has it scraped: what $__rate_interval is worked out from.
        "interval": "30s",
        "gridPos": place,
        "targets": [_target(panel, *query, ref) for query, ref in zip(panel.queries, "ABC", strict=False)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _target(panel: Panel, expression: str, legend: str, ref: str) -> Json:
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": expression,
        "legendFormat": legend or "__auto",
        "instant": panel.instant,
        "range": not panel.instant,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _field(panel: Panel) -> Json:
    steps = [{"value": value, "color": color} for value, color in panel.steps]
    field: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.words:
        named = {str(value): {"text": text, "index": n} for n, (value, text) in enumerate(panel.words.items())}
        field["mappings"] = [{"type": "value", "options": named}]
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        field |= {"min": 0, "color": {"mode": "palette-classic"}}
        field["custom"] = {"fillOpacity": 30 if panel.stacked else 5, "stacking": stacking, "showPoints": "never"}
    else:
        field["color"] = {"mode": "thresholds"}
    if panel.kind == "table":
        field["custom"] = {"filterable": True}
    return field


def _options(panel: Panel) -> Json:
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"reduceOptions": reduced, "colorMode": "background", "graphMode": "none", "textMode": "value"}
    if panel.kind == "bargauge":
        return {"reduceOptions": reduced, "orientation": "horizontal", "displayMode": "basic"}
    if panel.kind == "table":
        return {"showHeader": True}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def _transformations(panel: Panel) -> list[Json]:
    if panel.matrix:
        rows, columns = panel.matrix
        options = {"rowField": rows, "columnField": columns, "valueField": "Value", "emptyValue": "zero"}
        return [{"id": "groupingToMatrix", "options": options}]
    if panel.kind == "table":
        return [{"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": "Count"}}}]
    return []


if __name__ == "__main__":
    sys.exit(main())
