"""deploy/DAY-TWO.md and deploy/prometheus, held to the product: what they name exists, and nothing
that exists is left out."""

import json
import re
import shlex
import shutil
import subprocess
from functools import cache

import pytest
import yaml

from cloudformation import load
from lab import BIN, ROOT

CHAPTERS = ROOT / "deploy" / "DAY-TWO.md"
PROMETHEUS = ROOT / "deploy" / "prometheus"
TEMPLATE = ROOT / "deploy" / "cloudformation" / "appliance-fleet.yaml"
TEXT = CHAPTERS.read_text()
BLOCKS = re.findall(r"```\n(.*?)```", TEXT, re.S)
WORDS = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.S))
SECTIONS = re.findall(r"^#+ (.+)$", TEXT, re.M)


def section(title):
    """From a heading to the next of its level or above."""
    level, rest = re.search(rf"^(#+) {re.escape(title)}\n(.*)", TEXT, re.M | re.S).groups()
    return re.split(rf"^#{{1,{len(level)}}} ", rest, flags=re.M)[0]


# ---- Metrics, drop reasons, alerts.


@pytest.fixture(scope="module")
def served(lab):
    """What an appliance serves, as text."""
    before = len(lab.programs)
    lab.start_appliance("--io", "udp", "--workers", 1)
    _, text = lab.http("/metrics")
    lab.end_programs(since=before)
    return text


def test_the_metrics_are_those_that_are_served(served):
    families = set(re.findall(r"^# TYPE (\w+) ", served, re.M))
    named = {w for w in WORDS if re.fullmatch(r"(sluice|process)_[a-z_]+", w)}
    assert named - families == set(), "named here, and not served"
    table = set(re.findall(r"`((?:sluice|process)_[a-z_]+)`", section("By metric")))
    assert families - table == set(), "served, and not explained"


def test_the_drop_reasons_are_those_that_are_served(served):
    reasons = set(re.findall(r'packets_dropped_total\{worker="0",reason="(\w+)"\}', served))
    rows = re.findall(r"^\| `(\w+)` \|", section("By drop reason"), re.M)
    assert sorted(rows) == sorted(reasons)


def test_every_alert_has_its_section():
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    alerts = [rule["alert"] for rule in group["rules"]]
    assert sorted(s for s in SECTIONS if s.startswith("Sluice")) == sorted(alerts)
    assert set(re.findall(r"\bSluice[A-Z]\w+", TEXT)) <= set(alerts)


def test_the_alarms_of_the_template_point_to_sections():
    alarms = [r["Properties"] for r in load(TEMPLATE)["Resources"].values()
              if r["Type"] == "AWS::CloudWatch::Alarm"]
    for alarm in alarms:
        pointed = re.search(r'DAY-TWO\.md, "?([^".]+)"?\.$', alarm["AlarmDescription"])[1]
        assert pointed in SECTIONS, alarm["AlarmDescription"]
    assert "seven alarms" in section("Cost") and len(alarms) == 7
    figures = {a["MetricName"] for a in alarms if a["Namespace"] == "Sluice"}
    assert figures <= set(WORDS) and "five custom metrics" in section("Cost") and len(figures) == 5


def test_the_alerts_fire_when_they_should(tmp_path):
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    shutil.copy(ROOT / "Tests" / "EndToEnd" / "alerts.test.yml", tmp_path)
    cases = yaml.safe_load((tmp_path / "alerts.test.yml").read_text())["tests"]
    fired = {a["alertname"] for c in cases for a in c["alert_rule_test"] if a["exp_alerts"]}
    assert fired == set(re.findall(r"alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text()))
    run = subprocess.run(["promtool", "test", "rules", "alerts.test.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


# ---- The dashboard.


def test_the_dashboard_asks_for_what_is_served(served, tmp_path):
    """Names by the appliance, PromQL by promtool, which judges expressions as rules."""
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "sluice.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > len(dashboard["panels"]) >= 10
    families = set(re.findall(r"^# TYPE (\w+) ", served, re.M))
    named = {name.removesuffix("_bucket") for query in queries
             for name in re.findall(r"(?:sluice|process)_\w+", query)}
    assert named - families == set()
    # An emulated host has no allowances and this one no configuration file: nothing shows their labels.
    labels = set(re.findall(r'[{,](\w+)="', served)) | {"instance", "kind", "sha256"}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels | {"rule", "endpoint", "verdict"}
    rules = [{"record": f"query_{number}", "expr": query.replace("$__rate_interval", "5m")}
             for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run = subprocess.run(["promtool", "check", "rules", tmp_path / "queries.yml"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_panels_of_the_dashboard_link_to_their_sections():
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "sluice.json").read_text())
    assert "runbook" in {variable["name"] for variable in dashboard["templating"]["list"]}
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    for panel in dashboard["panels"]:
        (link,) = panel["links"]
        assert link["url"].removeprefix("${runbook}#") in anchors, panel["title"]


# ---- Commands.


@cache
def help_of(*command):
    run = subprocess.run([BIN / command[0], *command[1:], "--help"], capture_output=True, text=True)
    assert run.returncode == 0, (command, run.stderr)
    return run.stdout


def test_the_commands_of_sluice_exist():
    lines = [line for block in BLOCKS for line in block.splitlines()] + WORDS
    called = {tuple(line.split()[:2]) for line in lines if re.match(r"sluice(-gen|-gwlb)? [a-z]", line)}
    assert {("sluice", "check"), ("sluice", "reload"), ("sluice-gen", "search")} <= called
    for program, command in called:
        assert re.search(rf"^  {command}\b", help_of(program), re.M), f"{program} {command}"
    flags = {w.split()[0] for w in WORDS if w.startswith("--")}
    assert flags and all(flag in help_of("sluice", "run") for flag in flags), flags


def keys(value, above=""):
    for key, below in value.items() if isinstance(value, dict) else ():
        yield f"{above}{key}"
        yield from keys(below, f"{above}{key}.")


def test_the_keys_of_the_configuration_exist():
    known = set(keys(yaml.safe_load((ROOT / "deploy" / "examples" / "sluice.yaml").read_text())))
    heads = {key.split(".")[0] for key in known if "." in key}
    named = {w.split(":")[0] for w in WORDS if re.match(rf"({'|'.join(heads)})\.[a-z.-]+", w)}
    assert named > {"flows.tcp-idle", "drain.timeout"}
    assert {n for n in named if not n.endswith((".service", ".yaml", ".conf"))} - known == set()


def test_files_and_units_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (CHAPTERS.parent / target).exists(), target
    for path in re.findall(r"--template-file (\S+)", TEXT):
        assert (ROOT / path).exists(), path
    for unit in set(re.findall(r"\bsluice-[a-z]+\.(?:service|timer)", TEXT)):
        assert (ROOT / "deploy" / "systemd" / unit).exists(), unit


def aws_commands():
    text = "\n".join(BLOCKS).replace("\\\n", " ") + "\n" + "\n".join(w for w in WORDS if w.startswith("aws "))
    text = re.sub(r"\s#\s.*", "", text)
    for line in re.findall(r"\baws [a-z].*", text):
        yield shlex.split(re.sub(r"\$\(output \w+\)|…|; \}", "X", line))


def test_the_commands_of_aws_exist():
    """Service, operation and options, by botocore's models of the services."""
    import botocore.session
    from botocore.validate import validate_parameters

    session = botocore.session.get_session()
    own = {"cloudformation": {"deploy", "wait"}}  # of the CLI, not of the service
    checked = 0
    for _, service, operation, *options in aws_commands():
        if operation in own.get(service, ()):
            continue
        model = session.get_service_model(service)
        name = next((n for n in model.operation_names if n.lower() == operation.replace("-", "")), None)
        assert name, f"aws {service} {operation}"
        members = model.operation_model(name).input_shape.members
        named = {m.lower(): m for m in members}
        for option in (o for o in options if o.startswith("--")):
            assert option.removeprefix("--").replace("-", "") in {*named, "query", "output"}, option
        if "--preferences" in options:
            told = json.loads(options[options.index("--preferences") + 1])
            validate_parameters({"Preferences": told, "AutoScalingGroupName": "x"}, model.operation_model(name).input_shape)
        checked += 1
    assert checked > 10


def test_the_names_of_the_template_exist():
    template = load(TEMPLATE)
    for line in " ".join(BLOCKS).replace("\\\n", " ").split("aws "):
        if "--parameter-overrides" in line:
            given = re.findall(r"(\w+)=", line.split("--parameter-overrides")[1].split("\n")[0])
            assert given and set(given) <= set(template["Parameters"]), given
    outputs = set(re.findall(r"\$\(output (\w+)\)", TEXT))
    assert outputs and outputs <= set(template["Outputs"])
    module = ROOT / "deploy" / "terraform" / "modules" / "appliance-fleet" / "outputs.tf"
    if module.exists():
        named = re.findall(r"terraform output -raw (\w+)", TEXT)
        assert named and set(named) <= set(re.findall(r'^output "(\w+)"', module.read_text(), re.M))
    known = {*template["Parameters"], *template["Outputs"], *template["Resources"]}
    ours = {w.split(":")[0] for w in WORDS if re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z0-9]+)+(: .*)?", w)}
    of_aws = {"UpdatePolicy", "HealthCheckType", "AutoScalingGroupName", "TimeoutStopSec"}
    of_fleet = {"WorkerBusy", "KernelDrops", "SendDrops", "AlienDrops", "AllowanceExceeded"}
    assert ours - known - of_aws - of_fleet == set()


# ---- Figures.


def test_the_sizing_is_what_was_measured():
    """Within a quarter of the newest table: a machine's mood, not another program."""
    measured = {}
    for line in (ROOT / "Benchmarks" / "Results" / "table.txt").read_text().splitlines():
        if line.startswith(("Pass", "With")):
            policy = line
        elif line.startswith("packet ") and len(line.split()) > 5:
            _, size, rate, *_ = line.split()
            measured[policy, size] = int(rate)
    sizes = ["128", "imix", "1500", "8500"]
    bytes_of = {"128": 128, "imix": 422, "1500": 1500, "8500": 8500}
    rows = {cells[1].strip(): [float(c.replace(",", "")) for c in cells[2:6]]
            for cells in (line.split("|") for line in section("Sizing").splitlines() if "|--" not in line)
            if len(cells) > 5 and re.search(r"\d", cells[2]) and "bytes" not in cells[2]}
    assert len(rows) == 3
    for size, rate, gbit, searched in zip(sizes, *rows.values()):
        assert rate == pytest.approx(measured["Pass-through", size], rel=0.25)
        assert gbit == pytest.approx(rate * bytes_of[size] * 8 / 1e9, rel=0.02)
        assert searched == pytest.approx(measured["With the blog policy", size], rel=0.25)


def test_the_defaults_are_those_of_the_product():
    example = yaml.safe_load((ROOT / "deploy" / "examples" / "sluice.yaml").read_text())
    for key in ("drain.minimum", "drain.idle", "drain.timeout", "flows.tcp-idle", "flows.other-idle"):
        part, name = key.split(".")
        value = example[part][name].replace("s", " s")
        assert re.search(rf"`{re.escape(key)}` \(?{value}\b", TEXT), f"{key} {value}"
    parameters = load(TEMPLATE)["Parameters"]
    assert f"`BusyTarget` is {parameters['BusyTarget']['Default']}" in TEXT
    assert f"deregistration delay ({parameters['DeregistrationDelay']['Default']} s)" in TEXT
    assert parameters["HealthCheckInterval"]["Default"] == 10
    assert parameters["UnhealthyThreshold"]["Default"] == parameters["HealthyThreshold"]["Default"] == 2
