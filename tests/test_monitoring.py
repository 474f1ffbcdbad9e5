"""Dashboards, recorded series and alerts of deploy/: whole, explained, and about metrics the relay really has."""

import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.app import browsing, running_app
from tests.support.dashboards import (
    DEPLOY,
    PROMETHEUS,
    boards,
    filled,
    label_values,
    metric_names,
    panels,
    queries,
    rules,
)

BOARDS = boards()
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text("utf-8")
ALERTS = {rule["alert"]: rule for rule in rules("alert")}
# What Grafana calls a quantity; anything else is shown as it is.
UNITS = {"none", "short", "s", "bps", "bytes", "percentunit", "cps", "cpm"}
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


async def scraped(folder: Path) -> dict[str, set[str]]:
    """Every sample name a relay's scrape can have, and the labels of those that are there."""
    async with running_app(folder) as app, browsing(app) as browser:
        await browser.ask(
            "POST", "/api/v1/channels/demo/destinations", json={"name": "d", "url": "rtmp://h.example/a/k"}
        )
        _, text, _ = await browser.ask("GET", "/metrics")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for ending in SAMPLES[family.type]:
            found[f"{family.name}{ending}"] = set()
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_query_and_rule_reads_metrics_there_are(tmp_path: Path) -> None:
    known = await scraped(tmp_path)
    recorded = {rule["record"] for rule in rules("record")}
    read: dict[str, set[str]] = {}
    for rule in (*rules("record"), *rules("alert")):
        read[rule.get("record") or rule["alert"]] = metric_names(rule["expr"])
    for name, board in BOARDS.items():
        for query in queries(name, board):
            read[query.where] = metric_names(query.expression)
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                read[f"{name}: ${variable['name']}"] = metric_names(label_values(variable["query"]["query"])[0])
    assert all(read.values()), [where for where, names in read.items() if not names]
    unknown = {where: names - known.keys() - recorded - {"up"} for where, names in read.items()}
    assert {where: names for where, names in unknown.items() if names} == {}


def test_metric_names_are_told_from_functions_and_labels() -> None:
    text = 'sum by (relay_x) (rate(relay_a_total{b="relay_c"}[5m])) * on (relay_y) group_left () up + x:relay_b:rate1m'
    assert metric_names(text) == {"relay_a_total", "up", "x:relay_b:rate1m"}


# --- dashboards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOARDS)
def test_each_panel_is_explained_and_has_its_place(name: str) -> None:
    board = BOARDS[name]
    assert (board["uid"], board["schemaVersion"] >= 39) == (f"relay-{name}", True)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 15
    titles = [panel["title"] for panel in panels(board)]
    assert all(titles)
    for panel in panels(board):
        where = f"{name}: {panel['title']}"
        defaults = panel["fieldConfig"]["defaults"]
        assert len(panel["description"]) > 20, where
        assert panel["description"].endswith((".", ")")), where
        assert defaults["unit"] in UNITS, where
        assert defaults["thresholds"]["steps"][0]["value"] is None, where
        limits = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
        assert limits == sorted(limits), where
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGHIJ"[: len(panel["targets"])]), where
        if panel["type"] == "timeseries":
            assert all(target["legendFormat"] for target in panel["targets"]), where
        assert all('job="relay"' in target["expr"] and "$relay" in target["expr"] for target in panel["targets"]), where


@pytest.mark.parametrize("name", BOARDS)
def test_no_two_panels_overlap(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_is_defined_and_every_link_leads_somewhere(name: str) -> None:
    board = BOARDS[name]
    variables = [variable["name"] for variable in board["templating"]["list"]]
    values = dict.fromkeys(variables, "x")
    for position, variable in enumerate(board["templating"]["list"]):
        assert variable["description"]
        if variable["type"] == "query":  # it may use those before it
            filled(variable["query"]["query"], dict.fromkeys(variables[:position], "x"))
    for query in queries(name, board):
        filled(query.expression, values)
    text = str(board)
    for link in re.findall(r"'/d/([\w-]+)\?", text):
        assert link in {other["uid"] for other in BOARDS.values()}
    for link in [item for panel in panels(board) for item in panel["fieldConfig"]["defaults"]["links"]] + board[
        "links"
    ]:
        special = {"__field", "__value", "__url_time_range"}
        used = set(re.findall(r"\$\{(\w+)", link["url"]))
        assert used <= set(variables) | special, link
    assert "'url': '${console}'" in text
    other = ({"relay-overview", "relay-channel"} - {board["uid"]}).pop()
    assert f"/d/{other}?" in text


def test_provisioning_names_what_is_there() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/field-relay.yml").read_text("utf-8"))["providers"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    grafana = compose["grafana"]
    assert source["url"] == "$PROMETHEUS_URL"
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    mounts = dict(volume.split(":")[:2][::-1] for volume in grafana["volumes"])
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    scrape = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).name).is_file()


# --- alerts ----------------------------------------------------------------------------------------------------------


def section(alert: str) -> str:
    """The runbook's section about ``alert``."""
    found = re.search(rf"^### {alert}\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, f"the runbook has nothing about {alert}"
    return found[1]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    words = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert 20 < len(words["summary"]) < 120
    assert len(words["description"]) > 60
    assert words["runbook"] == f"deploy/RUNBOOK.md#{alert.lower()}"
    assert "relay_console_info" in words.get("console", "") or alert == "RelayDown"
    about = section(alert)
    for heading in ("**What it means.**", "**Look at.**", "**Do.**"):
        assert heading in about, heading


def test_the_runbook_is_about_these_alerts() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)
    anchors = {heading.lower() for heading in re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)}
    for anchor in re.findall(r"\(#([\w-]+)\)", RUNBOOK):
        assert anchor in anchors


def test_each_alert_is_tested_to_fire_and_to_keep_quiet() -> None:
    cases: dict[str, set[bool]] = {alert: set() for alert in ALERTS}
    tests: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "tests/alerts.yml").read_text("utf-8"))["tests"]
    for case in (case for test in tests for case in test["alert_rule_test"]):
        cases[case["alertname"]].add(bool(case["exp_alerts"]))
    assert {alert: sorted(seen) for alert, seen in cases.items()} == {key: [False, True] for key in ALERTS}


@pytest.mark.e2e
def test_promtool_likes_config_and_rules() -> None:
    for words in (
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "rules/recording.yml", "rules/alerts.yml"),
        ("test", "rules", "tests/alerts.yml"),
    ):
        done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"


@pytest.mark.e2e
def test_the_other_ways_to_scrape_are_valid_too(tmp_path: Path) -> None:
    """The commented lines of the scrape config, each put in the place of what they replace."""
    text = (PROMETHEUS / "prometheus.yml").read_text("utf-8").replace("rules/*.yml", str(PROMETHEUS / "rules/*.yml"))
    before, job = text.split("  - job_name: relay\n")
    head = job.split("    # A relay on this machine")[0]
    token = head.split("    static_configs:")[0]
    variants = re.split(r"\n    # A relay [^\n]*\n", job.split("  - job_name: prometheus")[0])[1:]
    assert len(variants) == 2
    for number, variant in enumerate(variants):
        lines = "".join(f"    {line.strip()[2:]}\n" for line in variant.splitlines() if line.strip().startswith("# "))
        path = tmp_path / f"{number}.yml"
        path.write_text(f"{before}  - job_name: relay\n{token if number else ''}{lines}", "utf-8")
        words = ("promtool", "check", "config", "--syntax-only", str(path))
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path.read_text('utf-8')}\n{done.stdout}{done.stderr}"
