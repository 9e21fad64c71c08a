"""Manifests for Kubernetes: a StatefulSet whose ordinals are the group's static members, and what belongs to it.

KEDA's ScaledObject adds members while the group is behind. Secrets are never rendered: where the
inventory has some, the configuration is a Secret that is made beside.
"""

from __future__ import annotations

from typing import Any

import yaml

from deploy.fleet.inventory import Fleet
from deploy.fleet.settings import STATE, to_toml
from deploy.release.release import Release
from deploy.remote.layout import CONTAINER_USER
from deploy.remote.units import SERVES
from deploy.render.settings import CONFIG, STOP_S, brokers, image_of, settings_of

LAG = 1000
"""Records that a member may be behind before another one is started."""


def manifests(fleet: Fleet, release: Release, replicas: int) -> str:
    """YAML of all objects. Raises `UsageError` where the release or the settings do not fit."""
    name, labels = fleet.app.name, {"app.kubernetes.io/name": fleet.app.name}
    settings = settings_of(fleet)
    objects: list[dict[str, Any]] = []
    if not fleet.app.secrets:
        objects.append(_object("v1", "ConfigMap", f"{name}-config", labels, data={SERVES: to_toml(settings)}))
    objects += [
        _service(name, labels, fleet.app.metrics_port),
        _stateful_set(fleet, release, labels, replicas),
        _object(
            "policy/v1",
            "PodDisruptionBudget",
            name,
            labels,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        ),
        _network_policy(fleet, labels, [one.rpartition(":")[2] for one in brokers(settings)]),
        _scaled_object(name, labels, settings, replicas),
    ]
    head = f"# {release.app} {release.version}, bundle {release.bundle.name}@{release.bundle.digest}\n"
    if fleet.app.secrets:
        head += (
            f"# make first, with the secrets in it: kubectl create secret generic {name}-config --from-file={SERVES}\n"
        )
    return head + yaml.safe_dump_all(objects, sort_keys=False, width=120)


def _object(version: str, kind: str, name: str, labels: dict[str, str], **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": dict(labels)}, **rest}


def _service(name: str, labels: dict[str, str], port: int) -> dict[str, Any]:
    ports = [{"name": "http", "port": port, "targetPort": "http"}]
    return _object("v1", "Service", name, labels, spec={"clusterIP": "None", "selector": dict(labels), "ports": ports})


def _stateful_set(fleet: Fleet, release: Release, labels: dict[str, str], replicas: int) -> dict[str, Any]:
    image, reference = image_of(fleet, release)
    name, port = fleet.app.name, fleet.app.metrics_port
    config: dict[str, Any] = (
        {"secret": {"secretName": f"{name}-config"}} if fleet.app.secrets else {"configMap": {"name": f"{name}-config"}}
    )
    memory = fleet.app.memory.upper().replace("M", "Mi").replace("G", "Gi")
    resources: dict[str, Any] = {"requests": {"cpu": "250m", "memory": memory}, "limits": {"memory": memory}}
    if image.target != "cpu":
        resources["limits"]["nvidia.com/gpu"] = "1"
    container = {
        "name": "edge-rnn",
        "image": reference,
        "args": ["run", "/bundle", "--config", f"{CONFIG}/{SERVES}"],
        "env": [{"name": "EDGE_RNN_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "http", "containerPort": port}],
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "failureThreshold": 60, "periodSeconds": 2},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": STOP_S,
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": image.arch},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": CONTAINER_USER,
            "runAsGroup": CONTAINER_USER,
            "fsGroup": CONTAINER_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "config", **config},
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }
    spec = {
        "serviceName": name,
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": dict(labels)},
        "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
    }
    return _object("apps/v1", "StatefulSet", name, labels, spec=spec)


def _network_policy(fleet: Fleet, labels: dict[str, str], ports: list[str]) -> dict[str, Any]:
    """Out: the brokers' ports and name look-ups. In: metrics."""
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    kafka = [{"protocol": "TCP", "port": int(port)} for port in sorted(set(ports))]
    spec = {
        "podSelector": {"matchLabels": dict(labels)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": fleet.app.metrics_port}]}],
        "egress": [{"ports": dns}, {"ports": kafka}],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", fleet.app.name, labels, spec=spec)


def _scaled_object(name: str, labels: dict[str, str], settings: dict[str, Any], replicas: int) -> dict[str, Any]:
    trigger = {
        "type": "kafka",
        "metadata": {
            "bootstrapServers": ",".join(brokers(settings)),
            "consumerGroup": str(settings["group"]),
            "topic": str(settings["input"]),
            "lagThreshold": str(LAG),
            "limitToPartitionsWithLag": "false",
        },
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
        "minReplicaCount": replicas,
        "maxReplicaCount": 4 * replicas,
        "cooldownPeriod": 600,
        "triggers": [trigger],
    }
    return _object("keda.sh/v1alpha1", "ScaledObject", name, labels, spec=spec)
