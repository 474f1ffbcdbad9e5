"""The ways to run it in deploy/: settings that are settings, files that fit each other, commands that exist, backups.

`scripts/deployment` checks the same files against compose's, Kubernetes' and Grafana's own types.
"""

import asyncio
import configparser
import itertools
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from relay.cli.main import app as cli
from relay.config import Settings, load_settings
from relay.control.models import NewDestination
from tests.support.app import running_app
from tests.support.dashboards import DEPLOY

ROOT = DEPLOY.parent
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
K8S = [
    document
    for file in sorted((DEPLOY / "k8s").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text("utf-8"))
    if document["kind"] != "Kustomization"
]


def steps() -> Iterator[tuple[str, str]]:
    """(instruction, its words) of the Dockerfile, as Docker reads it."""
    bare = "".join(line for line in DOCKERFILE.splitlines(keepends=True) if not line.startswith("#"))
    for line in bare.replace("\\\n", "").splitlines():
        if line.strip():
            word, words = line.split(None, 1)
            yield word, words


def image_settings() -> dict[str, str]:
    """The environment the image has."""
    return {
        name: value
        for word, words in steps()
        if word == "ENV"
        for name, value in (item.split("=", 1) for item in shlex.split(words))
        if name.startswith("RELAY_")
    }


def kind(name: str) -> list[dict[str, Any]]:
    return [document for document in K8S if document["kind"] == name]


def settings_of(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    """What a relay makes of it: load_settings refuses what it does not know."""
    for name, value in environment.items():
        if name.startswith("RELAY_"):
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "https://relay.example.org", value))
    return load_settings(None)


# --- the image -------------------------------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_in_particular_on_locked_packages() -> None:
    last = dict(steps())
    assert last["USER"] == "10001:10001"
    assert json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"]) == ["relay", "serve"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    runs = [words for word, words in steps() if word == "RUN"]
    assert "--require-hashes -r requirements.lock" in runs[0]
    assert "--no-deps" in runs[1]
    stages = [words for word, words in steps() if word == "FROM"]
    assert len({words.split()[0] for words in stages}) == 1, "what is built must run on the same Python"


def test_what_is_copied_is_let_through_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        name for word, words in steps() if word == "COPY" and "--from" not in words for name in words.split()[:-1]
    }
    assert copied == through
    assert all((ROOT / name).exists() for name in copied)


async def test_the_health_check_tells_a_relay_from_none(tmp_path: Path) -> None:
    check = json.loads(dict(steps())["HEALTHCHECK"].split(" CMD ", 1)[1])
    assert check[0] == "python"

    def run(port: int) -> int:
        environment = {"RELAY_HTTP__LISTEN": f"0.0.0.0:{port}", "no_proxy": "*"}
        return subprocess.run(
            [sys.executable, *check[1:]], env=environment, capture_output=True, check=False
        ).returncode

    async with running_app(tmp_path, archive={"store": "off"}) as app:
        port = app.web.port
        assert await asyncio.to_thread(run, port) == 0
    assert await asyncio.to_thread(run, port) != 0


# --- compose ---------------------------------------------------------------------------------------------------------


def test_compose_gives_settings_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    service = COMPOSE["services"]["relay"]
    settings = settings_of(monkeypatch, {**image_settings(), **service["environment"]})
    assert settings.http.behind_proxy
    targets = [volume.split(":")[1] for volume in service["volumes"]]
    assert str(settings.data_dir) in targets
    assert service["secrets"][0]["target"] == str(settings.data_dir / "admin.token")
    bucket = re.fullmatch(r"s3://([\w-]+)/\w+", settings.archive.store)
    assert bucket
    assert f"-bucket={bucket[1]}" in COMPOSE["services"]["seaweedfs"]["command"]
    credentials = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    stores = COMPOSE["services"]["seaweedfs"]["environment"]
    assert [stores[name] for name in credentials] == [service["environment"][name] for name in credentials]


def test_compose_opens_only_the_doors_for_encoders() -> None:
    opened = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    public = {port.split(":")[0] for port in opened if not port.startswith("127.0.0.1:")}
    assert public == {"1935", "1936", "8081"}
    for name, service in COMPOSE["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name


def test_compose_names_files_and_variables_there_are() -> None:
    named = {line.split("=")[0] for line in (DEPLOY / "example.env").read_text("utf-8").splitlines() if "=" in line}
    wanted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    assert wanted == {name for name in named if not name.startswith("#")}
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume
    ignored = (ROOT / ".gitignore").read_text("utf-8")
    assert "/deploy/.env\n/deploy/secrets/\n" in ignored
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    assert scrape["static_configs"] == [{"targets": ["relay:8080"]}]
    assert scrape["authorization"]["credentials_file"] == "/run/secrets/admin.token"
    assert COMPOSE["services"]["prometheus"]["secrets"][0]["target"] == "admin.token"
    assert COMPOSE["services"]["prometheus"]["group_add"] == [dict(steps())["USER"].split(":")[1]]


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def test_kubernetes_gives_settings_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    (config,) = kind("ConfigMap")
    settings = settings_of(monkeypatch, {**image_settings(), **config["data"]})
    assert settings.http.behind_proxy
    (relay,) = kind("StatefulSet")
    (container,) = relay["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (claim,) = relay["spec"]["volumeClaimTemplates"]
    assert mounts[claim["metadata"]["name"]] == str(settings.data_dir)
    assert mounts["admin-token"] == str(settings.data_dir / "admin.token")
    assert set(mounts) - {claim["metadata"]["name"]} == {
        volume["name"] for volume in relay["spec"]["template"]["spec"]["volumes"]
    }


def test_kubernetes_parts_find_each_other() -> None:
    (relay,) = kind("StatefulSet")
    spec, template = relay["spec"], relay["spec"]["template"]
    (container,) = template["spec"]["containers"]
    labels, ports = template["metadata"]["labels"], {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"rtmp": 1935, "rtmps": 1936, "http": 8080, "ingest-http": 8081}
    assert spec["selector"]["matchLabels"] == labels
    assert spec["replicas"] == 1
    services = {service["metadata"]["name"]: service["spec"] for service in kind("Service")}
    assert spec["serviceName"] in services
    for service in services.values():
        assert service["selector"] == labels
        assert all(ports[port["targetPort"]] == port["port"] for port in service["ports"])
    (policy,) = kind("NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    inside = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    assert set(inside) == set(ports)
    (monitor,) = kind("PodMonitor")
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["relabelings"][0]["replacement"]) == ("http", "relay")
    listed = yaml.safe_load((DEPLOY / "k8s/kustomization.yaml").read_text("utf-8"))
    assert {*listed["resources"], "kustomization.yaml"} == {file.name for file in (DEPLOY / "k8s").iterdir()}
    assert container["image"] == listed["images"][0]["name"]


def test_the_pod_may_do_nothing_it_need_not() -> None:
    (relay,) = kind("StatefulSet")
    pod = relay["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert (pod["securityContext"]["runAsNonRoot"], user) == (True, dict(steps())["USER"])
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert pod["terminationGracePeriodSeconds"] > Settings().limits.shutdown_s


# --- systemd ---------------------------------------------------------------------------------------------------------


class Unit(configparser.RawConfigParser):
    """A unit file; of what is said twice the last counts here."""

    optionxform = staticmethod(str)  # type: ignore[assignment]


def test_the_unit_starts_a_relay_that_may_write_its_data_only() -> None:
    unit = Unit(strict=False)
    unit.read_string((DEPLOY / "systemd/relay.service").read_text("utf-8"))
    service = unit["Service"]
    words = service["ExecStart"].split()
    assert words[0].endswith("/.venv/bin/relay")
    assert words[1:] == ["serve", "-c", "/etc/relay/relay.toml"]
    assert service["Environment"] == f"RELAY_DATA_DIR=/var/lib/{service['StateDirectory']}"
    assert (service["ProtectSystem"], service["DynamicUser"], service["NoNewPrivileges"]) == ("strict", "yes", "yes")
    assert (service["CapabilityBoundingSet"], service["Restart"]) == ("", "always")
    assert int(service["LimitNOFILE"]) >= 65536
    assert float(service["TimeoutStopSec"]) > Settings().limits.shutdown_s


# --- what the pages say ----------------------------------------------------------------------------------------------


def commands_on(text: str) -> Iterator[list[str]]:
    """The `relay …` commands a page tells people to give, as words; what follows a bare `…` is left open."""
    for found in re.finditer(r"(?:`|bin/|exec relay |-- )relay ([a-z][^`\n|;&]*)", text, re.MULTILINE):
        yield list(itertools.takewhile(lambda word: word != "…", shlex.split(found[1].split("    #")[0])))


@pytest.mark.parametrize("page", ["RUNBOOK.md", "README.md"])
def test_every_command_on_the_page_exists(page: str) -> None:
    found = list(commands_on((DEPLOY / page).read_text("utf-8").replace("`relay\nrecording", "`relay recording")))
    assert len(found) > 8
    for words in found:
        command: Any = typer.main.get_command(cli)
        rest = list(words)
        while hasattr(command, "commands"):
            assert rest, words
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in rest:
            assert not word.startswith("--") or word.split("=")[0] in known, words


def test_every_file_a_page_names_exists() -> None:
    for page in (DEPLOY / "RUNBOOK.md", DEPLOY / "README.md"):
        text = page.read_text("utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings


async def test_a_backup_taken_while_it_runs_brings_everything_back(tmp_path: Path) -> None:
    """The README's commands, to the letter but for the paths."""
    page = (DEPLOY / "README.md").read_text("utf-8")
    block = re.search(r"```sh\n(/opt/field-relay/.venv/bin/python -c .*?)```", page, re.DOTALL)
    assert block
    data, backup = tmp_path / "data", tmp_path / "backup"
    backup.mkdir()
    script = block[1].replace("/opt/field-relay/.venv/bin/python", sys.executable)
    script = script.replace("/var/lib/relay", str(data)).replace("/backup/", f"{backup}/")
    async with running_app(data) as app:
        (data / "slates").mkdir(exist_ok=True)
        wanted = NewDestination(name="yt", url="rtmp://h.example/app", key="platform-key", enabled=False)
        await app.control.add_destination("demo", wanted)
        before, token = app.control.channel("demo"), app.token.reveal()
        subprocess.run(["bash", "-euc", script], check=True)
    assert sqlite3.connect(backup / "relay.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    async with running_app(backup) as app:
        after = app.control.channel("demo")
        assert (after.stream_key, after.read_key, app.token.reveal()) == (before.stream_key, before.read_key, token)
        (row,) = (await app.database.channels.all())[0].destinations
        assert row.key.reveal() == "platform-key"
