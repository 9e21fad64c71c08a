"""Rendered manifests, units, dashboards and alerts, each put before its own validator."""

from __future__ import annotations

import json
import re
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.fleet.inventory import parse_inventory
from deploy.render.compose import compose
from deploy.render.grafana import dashboard
from deploy.render.kubernetes import manifests
from deploy.render.prometheus import ALERTS, alerts
from deploy.render.systemd import units
from edge_rnn.contract.errors import UsageError
from runtime.observe.metrics import Metrics
from tests.deploy.containers import CACHE, QUADLET
from tests.deploy.fleets import APP, HOST_KEY, inventory, release_of

DEVICE = "[[device]]\nname = 'a'\n"
SECRETS = '[app.secrets]\n"kafka.sasl.password" = { env = "KAFKA_PASSWORD" }\n'


@pytest.mark.parametrize("more", ["", SECRETS])
def test_kubernetes_objects_are_valid_for_the_oldest_and_the_newest_schema(more):
    text = manifests(inventory(["a"], more), release_of("x"), 3)
    objects = list(yaml.safe_load_all(text))
    kinds = [each["kind"] for each in objects]
    assert {"StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy", "ScaledObject"} <= set(kinds)
    for each in objects:
        if each["kind"] == "ScaledObject":
            continue
        for version in ("1.27", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(each, version, strict=True)
    assert "KAFKA_PASSWORD" not in text
    assert ("ConfigMap" in kinds) == (more == "")


def test_scaled_object_is_what_keda_takes(containers):
    """By KEDA's own resource definition."""
    definition = yaml.safe_load((CACHE / "scaledobjects.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    objects = yaml.safe_load_all(manifests(inventory(["a"]), release_of("x"), 3))
    (scaled,) = [each for each in objects if each["kind"] == "ScaledObject"]
    jsonschema.validate(scaled, schema)
    scaled["spec"]["minReplicaCount"] = "3"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled, schema)


def test_members_of_a_stateful_set_are_static_by_their_ordinal_and_run_by_digest():
    objects = yaml.safe_load_all(manifests(inventory(["a"]), release_of("x"), 3))
    (stateful,) = [each for each in objects if each["kind"] == "StatefulSet"]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert re.fullmatch(r"registry\.test:5000/edge@sha256:[0-9a-f]{64}", container["image"])
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_embedded_broker_is_refused_where_members_share_a_group():
    with pytest.raises(UsageError, match="needs Kafka"):
        manifests(inventory(["a"], broker="sqlite:/x"), release_of("x"), 1)


@pytest.mark.parametrize("more", ["", SECRETS])
def test_compose_file_is_valid_by_the_specifications_schema(containers, more):
    schema = json.loads((CACHE / "compose-spec.json").read_text())
    document = yaml.safe_load(compose(inventory(["a"], more), release_of("x")))
    jsonschema.validate(document, schema)
    assert document["services"]["activity"]["image"].startswith("registry.test:5000/edge@sha256:")
    document["services"]["activity"]["read_only"] = [1]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def parts(text: str) -> tuple[str, str]:
    """The quadlet and the service of `units`."""
    quadlet, _, service = text.partition("\n# podman 3.4")
    return quadlet, service.partition("\n")[2]


@pytest.mark.parametrize("more", ["", 'key = "k.pem"\n'])
def test_service_is_valid_for_systemd(containers, more, tmp_path):
    fleet = parse_inventory(
        APP.replace('name = "activity"\n', f'name = "activity"\n{more}').format(key=HOST_KEY, broker="k:1") + DEVICE
    )
    _, service = parts(units(fleet, release_of("x")))
    unit = tmp_path / "edge-rnn-activity-a.service"
    unit.write_text(service.replace("/usr/bin/podman", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr, done.stderr


def test_quadlet_is_taken_by_podmans_own_generator(containers, tmp_path):
    quadlet, _ = parts(units(inventory(["a"]), release_of("x")))
    (tmp_path / "edge-rnn-activity-a.container").write_text(quadlet)
    done = subprocess.run(
        [QUADLET, "-dryrun", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={"QUADLET_UNIT_DIRS": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"(?i)error|unsupported|warning", done.stderr), done.stderr
    made = done.stdout
    assert "---edge-rnn-activity-a.service---" in made
    assert "ExecCondition=/bin/sh -c" in made
    assert '"[ \\"$$(readlink' in made
    for words in (
        "--read-only",
        "--cap-drop",
        "--user 65532:65532",
        "@sha256:",
        "--config /etc/edge-rnn/${EDGE_RNN_CONFIG}",
    ):
        assert words in made, made


def test_alerts_are_taken_by_promtool_and_fire_as_they_say(containers, tmp_path):
    rules = tmp_path / "alerts.yaml"
    rules.write_text(alerts())
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout
    series = {
        "EdgeRnnDown": ['up{job="edge-rnn", instance="d1"}', "0x60"],
        "EdgeRnnFailedEpochs": ['edge_rnn_failed_epochs_total{job="edge-rnn", instance="d1"}', "0+2x60"],
        "EdgeRnnReplayHorizon": ['edge_rnn_replay_horizon_records{job="edge-rnn", instance="d1"}', "6000000x60"],
    }
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values}],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                    "eval_time": "55m",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            ],
        }
        for alert, (name, values) in series.items()
    ]
    lag = [
        {"series": 'edge_rnn_lag_records{job="edge-rnn", instance="d1", partition="0"}', "values": "20000+100x60"},
        {"series": 'edge_rnn_commits_total{job="edge-rnn", instance="d1"}', "values": "5x60"},
    ]
    tests.append(
        {
            "interval": "1m",
            "input_series": lag,
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                    "eval_time": "55m",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
                for alert in ("EdgeRnnLagGrows", "EdgeRnnStalled")
            ],
        }
    )
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "tests.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_is_read_by_grafanas_own_library_and_keeps_its_queries():
    document = json.loads(dashboard())
    read = Dashboard.from_json(document)
    again = json.loads(JSONEncoder(sort_keys=True).encode(read))
    expressions = [target["expr"] for panel in again["panels"] for target in panel["targets"]]
    assert expressions == [target["expr"] for panel in document["panels"] for target in panel["targets"]]


def test_dashboard_and_alerts_ask_only_for_metrics_that_the_daemon_has():
    metrics = Metrics()
    metrics.observed({0: 1}, 1, 1)
    have = set(re.findall(r"^(edge_rnn_\w+)", metrics.render().decode(), re.MULTILINE))
    have |= {name.removesuffix("_count") for name in have}
    asked = set(re.findall(r"edge_rnn_\w+", dashboard() + alerts()))
    assert asked <= have, asked - have
