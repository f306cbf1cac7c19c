"""Logs and metrics."""

import json
import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from residency.reporting.logs import JsonFormatter, TextFormatter
from residency.reporting.metrics import Metrics


def record(message: str = "hello", **extra: Any) -> logging.LogRecord:
    made = logging.getLogger("residency.test").makeRecord(
        "residency.test", logging.WARNING, "file", 1, message, (), None, extra=extra
    )
    made.created = 1_795_435_200.5
    return made


def test_a_log_line_is_one_json_object() -> None:
    line = JsonFormatter().format(record("two\nlines", policy="residency-guard-pods", count=2))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-23T12:00:00.500+00:00",
        "level": "warning",
        "logger": "residency.test",
        "message": "two\nlines",
        "policy": "residency-guard-pods",
        "count": 2,
    }


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_no_object_ever_gets_into_a_log(formatter: logging.Formatter) -> None:
    line = formatter.format(record(body={"data": {"password": "hunter2"}}, k8s_skip=object()))
    assert "hunter2" not in line


def test_people_read_the_same_in_one_line() -> None:
    assert TextFormatter().format(record(step="canary")) == "12:00:00 warning hello step=canary"


def samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_there_before_anything_happens() -> None:
    names = samples(Metrics())
    for name in ("residency_leader", "residency_policies_in_force", "residency_daemonsets_refused"):
        assert names[name] == 0
    assert names["residency_build_info|0.1.0"] == 1


def test_pods_of_a_classification_that_is_gone_are_no_longer_counted() -> None:
    metrics = Metrics()
    metrics.waiting({"a": 3, "b": 1})
    metrics.waiting({"b": 0})
    counted = {name: value for name, value in samples(metrics).items() if name.startswith("residency_pods_waiting")}
    assert counted == {"residency_pods_waiting_unplaced|b": 0}


def test_two_controllers_in_one_process_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.leader.set(1)
    assert samples(other)["residency_leader"] == 0
