"""The files under deploy/, judged by the tools that will read them."""

import re
import subprocess

import pytest

from lab import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"


def test_promtool_accepts_the_alerts():
    checked = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_metric_of_the_alerts_is_served(fresh):
    fresh.start_appliance("--io", "udp", "--workers", 1)
    _, served = fresh.http("/metrics")
    for name in set(re.findall(r"sluice_\w+", ALERTS.read_text())):
        assert f"# TYPE {name} " in served, name


@pytest.mark.parametrize("unit", ["sluice-lifecycle", "sluice-cloudwatch"])
def test_what_runs_beside_it_is_in_a_sandbox(unit):
    path = ROOT / "deploy" / "systemd" / f"{unit}.service"
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=25", path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_upgrade_of_the_rpm_restarts_what_runs():
    """As the Debian package does: the fleet's units run scripts of the package."""
    script = (ROOT / "deploy" / "rpm" / "sluice.spec").read_text().split("%postun")[1].split("%files")[0]
    restarted = " ".join(re.findall(r"try-restart (.*) \|\|", script))
    for unit in ("sluice.service", "sluice-lifecycle.service", "sluice-cloudwatch.timer"):
        assert unit in restarted, unit
