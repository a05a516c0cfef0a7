# SPDX-License-Identifier: Apache-2.0
"""Dashboard, rules and compose.yaml are complete and agree with each other."""

import json
import re
import subprocess

import pytest
import yaml

from monitoring.dashboard import DASHBOARD, read_panels
from serving.tritonserver import ROOT
from tests.monitoring.prometheus import MONITORING, find

TITLES = [panel.title for panel in read_panels()]


class Overriding(yaml.SafeLoader):
    """Loads Compose's tag by which a list replaces another."""


Overriding.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def rules():
    return yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]


def provisioned(path):
    return yaml.safe_load((MONITORING / "grafana/provisioning" / path).read_text())


def test_every_panel_queries_the_provisioned_source():
    (source,) = provisioned("datasources/prometheus.yml")["datasources"]
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) > 15
    for panel in [*panels, *dashboard["templating"]["list"]]:
        assert panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}
    for panel in panels:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == source["uid"]
            assert target["expr"].count("(") == target["expr"].count(")")
            assert target["legendFormat"]


def test_panels_have_names_and_descriptions_of_their_own_and_do_not_overlap():
    dashboard = json.loads(DASHBOARD.read_text())
    assert len(set(TITLES)) == len(TITLES)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken = set()
    for panel in dashboard["panels"]:
        assert panel["type"] == "row" or panel["description"], panel["title"]
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert not cells & taken, panel["title"]
        assert x + w <= 24
        taken |= cells


def test_every_query_selects_the_chosen_servers():
    for panel in read_panels():
        for query in panel.queries:
            metrics = re.findall(r"\b(?:llm|nv)_\w+|\bup\b", query.expression)
            assert len(metrics) == query.expression.count('instance=~"$server"') >= 1, query


def test_promtool_accepts_rules_and_configuration():
    subprocess.run([find("promtool"), "check", "config", MONITORING / "prometheus.yml"], check=True)


def test_each_alert_fires_when_it_should_and_not_otherwise(rules):
    subprocess.run([find("promtool"), "test", "rules", MONITORING / "alerts_test.yml"], check=True)
    tested = (MONITORING / "alerts_test.yml").read_text()
    for rule in rules:
        cases = yaml.safe_load(tested)["tests"]
        found = [
            case for test in cases for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]
        ]
        assert any(case.get("exp_alerts") for case in found), f"{rule['alert']} is never seen firing"
        assert not all(case.get("exp_alerts") for case in found), f"{rule['alert']} is never seen silent"


def test_every_alert_says_how_bad_it_is_and_what_to_do(rules):
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_compose_mounts_existing_files_where_they_are_expected(compose):
    mounted = {}
    for service in compose.values():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            mounted[target] = source
            assert not source.startswith("./") or (ROOT / source).exists(), source
    (provider,) = provisioned("dashboards/llm-ensemble.yml")["providers"]
    assert (ROOT / mounted[provider["options"]["path"]] / DASHBOARD.name).samefile(DASHBOARD)
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"
    (rules,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["rule_files"]
    assert mounted[f"/etc/prometheus/{rules}"] == f"./monitoring/{rules}"


def test_services_are_found_by_the_names_and_ports_they_have(compose):
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    targets = [static["targets"] for job in jobs for static in job["static_configs"]]
    assert targets == [["server:8002"], ["server:9000"]]
    exposed = re.findall(r"^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert all({"8002", "9000"} <= set(ports.split()) for ports in exposed)
    (source,) = provisioned("datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {"server", "prometheus"} <= compose.keys()
    asked = set(re.findall(r'up\{[^}]*job="([^"]*)"', all_queries()))
    assert asked == {job["job_name"] for job in jobs}


def all_queries():
    expressions = [query.expression for panel in read_panels() for query in panel.queries]
    return (MONITORING / "alerts.yml").read_text() + "\n".join(expressions)


def test_nothing_is_published_beyond_this_machine_and_images_are_pinned(compose):
    for name, service in compose.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]) or "build" in service, name


def test_the_server_runs_as_the_readme_hardens_it(compose):
    server = compose["server"]
    assert (server["read_only"], server["cap_drop"], server["tmpfs"]) == (True, ["ALL"], ["/tmp"])
    assert server["security_opt"] == ["no-new-privileges:true"]


def test_the_gpu_file_changes_the_server_alone_and_names_a_target_of_the_dockerfile(compose):
    services = yaml.load((MONITORING / "gpu.yaml").read_text(), Overriding)["services"]
    assert services.keys() == {"server"}
    assert services["server"]["build"]["target"] == "${GPU_TARGET:-gpu}"
    for target in ("gpu", "vllm", compose["server"]["build"]["target"]):
        assert f" AS {target}\n" in (ROOT / "Dockerfile").read_text()
    assert services["server"]["tmpfs"] == ["/tmp:exec"]
