"""The pods that are created: the smallest there is, and one as a platform's own templates make them."""

import json
from typing import Any

from residency.api.names import CLASSIFICATION

Json = dict[str, Any]


def small() -> Json:
    """One container, nothing else."""
    return _pod({"containers": [{"name": "app", "image": "registry.example/app:1.0"}]})


def realistic() -> Json:
    """About 7 KB: containers with probes and variables, volumes, affinity with two terms, tolerations, spread."""
    containers = [
        _container("app", 8080, environment=9),
        _container("proxy", 8443, environment=5),
        _container("metrics", 9090, environment=3),
    ]
    spec = {
        "serviceAccountName": "default",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "priorityClassName": "",
        "securityContext": {"runAsNonRoot": True, "fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [_container("migrate", 8081, environment=3, probes=False)],
        "containers": containers,
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "config", "configMap": {"name": "payments-config", "optional": True}},
            {"name": "certificates", "secret": {"secretName": "payments-tls", "optional": True}},
        ],
        "affinity": _affinity(),
        "tolerations": [
            {"key": "workload.example/batch", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "node.example/dedicated", "operator": "Equal", "value": "payments", "effect": "NoExecute"},
        ],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "payments"}},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
    }
    return _pod(spec)


def annotated(pod: Json, classification: str) -> Json:
    """The same pod with the annotation that tightens it."""
    copy: Json = json.loads(json.dumps(pod))
    copy["metadata"]["annotations"][CLASSIFICATION] = classification
    return copy


def _pod(spec: Json) -> Json:
    metadata = {
        "generateName": "payments-7d4b9c6f5d-",
        "labels": {"app.kubernetes.io/name": "payments", "pod-template-hash": "7d4b9c6f5d"},
        "annotations": {"prometheus.io/scrape": "true"},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _container(name: str, port: int, environment: int, *, probes: bool = True) -> Json:
    variables: list[Json] = [
        {"name": f"{name.upper()}_SETTING_{number:02}", "value": f"https://service-{number:02}.example.internal/v1"}
        for number in range(environment)
    ]
    variables.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    container: Json = {
        "name": name,
        "image": f"registry.example/payments/{name}:2.14.3",
        "args": ["--config=/etc/payments/config.yaml", f"--listen=0.0.0.0:{port}", "--log-format=json"],
        "ports": [{"name": f"{name}-port", "containerPort": port, "protocol": "TCP"}],
        "env": variables,
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "config", "mountPath": "/etc/payments", "readOnly": True},
            {"name": "certificates", "mountPath": "/etc/certificates", "readOnly": True},
        ],
    }
    if probes:
        check = {"httpGet": {"path": "/healthz", "port": port}, "periodSeconds": 10, "timeoutSeconds": 2}
        container |= {"livenessProbe": check, "readinessProbe": check, "startupProbe": check}
    return container


def _affinity() -> Json:
    def expression(key: str, *values: str) -> Json:
        return {"key": key, "operator": "In", "values": list(values)}

    zones = expression("topology.kubernetes.io/zone", "zone-a", "zone-b", "zone-c")
    linux = expression("kubernetes.io/os", "linux")
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [zones, linux, expression("node.example/generation", "7", "8")]},
                    {"matchExpressions": [zones, linux, expression("node.example/disk", "nvme")]},
                ]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 50, "preference": {"matchExpressions": [expression("node.example/spot", "false")]}}
            ],
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "payments"}},
                    },
                }
            ]
        },
    }
