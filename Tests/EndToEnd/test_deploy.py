"""The files under deploy/, judged by the tools that will read them."""

import re
import subprocess

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
