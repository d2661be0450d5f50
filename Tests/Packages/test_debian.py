"""The Debian package on a fresh Debian with systemd as its process 1: the life of an installation, in
the order of the tests."""

import os
import re
import time

import pytest

from lab import ADDRESS, ROOT, run, wait_until
from packets import geneve, outer, udp4
from threads import PTRACE_INTERRUPT, PTRACE_SEIZE, WALL, ptrace

UNIT = ROOT / "deploy" / "systemd" / "sluice.service"
EXPOSURE = 20  # tenths: what systemd-analyze security may find at most
FLEET_UNITS = ("sluice-lifecycle.service", "sluice-cloudwatch.timer")
CONFIG = f"""
listen: {{ interface: eth0, address: {ADDRESS} }}
drain: {{ minimum: 2s, idle: 1s, timeout: 20s }}
policy:
  rules:
    - {{ name: one, match: {{ protocol: udp, payload: {{ contains: first }} }}, action: drop }}
"""


def test_lintian_finds_nothing(dist):
    checked = run(
        "lintian", "--allow-root", "--fail-on", "error,warning", dist("sluice_*.deb"),
        dist("sluice-tools_*.deb"), check=False,
    )  # fmt: skip
    assert checked.returncode == 0 and checked.stdout == "", checked.stdout + checked.stderr


def test_the_exposure_is_low():
    """The score is shown, and may not rise."""
    asked = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", UNIT, check=False
    )
    print(asked.stdout.splitlines()[-1])
    assert asked.returncode == 0, asked.stdout


@pytest.fixture(scope="module")
def before(machine, overlay):
    return overlay.files()


def test_it_starts_when_it_is_installed(machine, lab, dist, before):
    machine.install(dist("sluice_*.deb"))
    assert machine.property("ActiveState") == "active", machine.journal()
    assert machine.property("UnitFileState") == "enabled"
    assert lab.health()[0] == 200, "Type=notify: active means healthy"
    assert "every worker makes progress" in machine.property("StatusText")
    verified = machine.run("systemd-analyze", "verify", "--man=no", "sluice.service", "sluice-nic@eth0.service")
    assert verified.stderr == ""
    # The next tests shall not wait for the default drain.
    machine.write("/etc/sluice/sluice.yaml", "drain: { minimum: 1s, idle: 1s }\n")
    machine.run("systemctl", "reload", "sluice")


def test_what_a_fleet_needs_waits_for_a_fleet(machine):
    for unit in FLEET_UNITS:
        assert machine.property("UnitFileState", unit) == "disabled"
        assert machine.property("ActiveState", unit) == "inactive"
    # As an appliance's first boot does; without /etc/sluice/fleet.env only the timer runs.
    machine.run("systemctl", "enable", "--now", *FLEET_UNITS)
    assert machine.property("ActiveState", FLEET_UNITS[1]) == "active"


def test_no_thread_keeps_a_privilege(machine):
    process = machine.main_pid()
    status = run("cat", f"/proc/{process}/status").stdout
    user = machine.run("id", "-u", "sluice").stdout.strip()
    assert re.search(rf"^Uid:\t{user}\t{user}\t{user}\t{user}$", status, re.M), status
    for line in run("sh", "-c", f"cat /proc/{process}/task/*/status").stdout.splitlines():
        if line.startswith(("CapEff", "CapPrm", "CapInh", "CapAmb")):
            assert int(line.split()[1], 16) == 0, line
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status


def restart(machine, config, ok=True):
    machine.write("/etc/sluice/sluice.yaml", config)
    done = machine.run("systemctl", "restart", "sluice", check=False)
    assert (done.returncode == 0) == ok, machine.journal()


@pytest.mark.parametrize("io", ["udp", "raw", "packet"])
def test_every_backend_works_in_the_sandbox(machine, lab, gateway, io):
    restart(machine, CONFIG.replace("eth0,", f"eth0, io: {io},"))
    gateway.ask(outer(geneve(udp4(b"hello"))))
    gateway.refused(outer(geneve(udp4(b"first"))))
    assert f"{io}," in machine.property("StatusText")


def test_systemctl_reloads(machine, lab, gateway):
    restart(machine, CONFIG)
    process = machine.property("MainPID")
    machine.write("/etc/sluice/sluice.yaml", CONFIG.replace("first", "second"))
    machine.run("systemctl", "reload", "sluice")
    gateway.ask(outer(geneve(udp4(b"first"))))
    gateway.refused(outer(geneve(udp4(b"second"))))
    machine.write("/etc/sluice/sluice.yaml", CONFIG + "nonsense: true\n")
    refused = machine.run("systemctl", "reload", "sluice", check=False)
    assert refused.returncode != 0
    assert "nonsense" in machine.journal()
    assert machine.property("ActiveState") == "active"
    gateway.refused(outer(geneve(udp4(b"second"))))
    assert machine.property("MainPID") == process


def test_systemctl_stop_drains(machine, lab):
    restart(machine, CONFIG)
    began = time.monotonic()
    machine.run("systemctl", "stop", "--no-block", "sluice")
    wait_until(lambda: lab.health()[0] == 503, "health turns 503")
    assert machine.property("ActiveState") == "deactivating"
    wait_until(lambda: machine.property("ActiveState") == "inactive", "the drain ends")
    assert time.monotonic() - began >= 2
    assert machine.property("Result") == "success"
    assert not (machine.overlay.root / "run/sluice").exists()


def test_a_stuck_worker_ends_in_a_restart(machine, lab):
    folder = machine.overlay.root / "etc/systemd/system/sluice.service.d"
    folder.mkdir()
    (folder / "quick.conf").write_text("[Service]\nWatchdogSec=2\n")
    machine.run("systemctl", "daemon-reload")
    restart(machine, CONFIG)
    process = machine.main_pid()
    tasks = run("sh", "-c", f"grep -l '^Name:.sluice-w0$' /proc/{process}/task/*/status").stdout
    thread = int(tasks.split("/")[4])
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    assert os.WIFSTOPPED(os.waitpid(thread, WALL)[1])
    # The process is gone for its parent only when we have taken note of the traced thread's end.
    wait_until(lambda: os.waitpid(thread, WALL | os.WNOHANG)[0] == thread, "systemd ends the process")
    wait_until(lambda: machine.property("NRestarts") == "1", "systemd restarts it", every=0.5)
    wait_until(lambda: lab.health()[0] == 200, "the new one is healthy")
    assert "atchdog" in machine.run("journalctl", "-u", "sluice", "--no-pager").stdout
    (folder / "quick.conf").unlink()
    folder.rmdir()
    machine.run("systemctl", "daemon-reload")


def test_a_wrong_config_is_not_tried_again(machine):
    restart(machine, "nonsense: true\n", ok=False)
    time.sleep(3)  # RestartSec, three times over
    assert machine.property("ActiveState") == "failed"
    assert machine.property("ExecMainStatus") == "78"
    assert machine.property("NRestarts") == "0"
    restart(machine, CONFIG)


@pytest.fixture
def newer(dist, tmp_path):
    """The same package with a higher version and another default config file."""
    run("dpkg-deb", "--raw-extract", dist("sluice_*.deb"), tmp_path / "tree")
    control = tmp_path / "tree/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 9.0-1", control.read_text()))
    with open(tmp_path / "tree/etc/sluice/sluice.yaml", "a") as file:
        file.write("# newer\n")
    run("dpkg-deb", "--build", "-Znone", tmp_path / "tree", tmp_path / "sluice_9.0-1.deb")
    return tmp_path / "sluice_9.0-1.deb"


def test_an_upgrade_restarts_and_keeps_the_config(machine, lab, newer):
    process = machine.property("MainPID")
    machine.install(newer, "--force-confold")
    assert machine.run("dpkg-query", "-W", "-f=${Version}", "sluice").stdout == "9.0-1"
    assert machine.property("ActiveState") == "active", machine.journal()
    assert machine.property("MainPID") not in (process, "0")
    assert machine.run("cat", "/etc/sluice/sluice.yaml").stdout == CONFIG
    assert lab.health()[0] == 200
    for unit in FLEET_UNITS:
        assert machine.property("UnitFileState", unit) == "enabled"
    assert machine.property("ActiveState", FLEET_UNITS[1]) == "active"


def test_a_removal_keeps_the_config_alone(machine, lab, overlay, before):
    machine.run("dpkg", "-r", "sluice")
    assert lab.health()[0] == 0, "nothing answers any more"
    for unit in FLEET_UNITS:
        assert machine.property("ActiveState", unit) == "inactive"
    left = {path for path in overlay.files() - before if not path.startswith("etc/systemd")}
    assert {"etc/sluice", "etc/sluice/sluice.yaml"} <= left
    assert not [path for path in left if path.startswith("usr")], left


def test_a_purge_leaves_nothing(machine, overlay, before):
    machine.run("dpkg", "-P", "sluice")
    left = overlay.files() - before
    # Backups of passwd and its kin: the user stays, as is Debian's custom.
    assert {path for path in left if not re.fullmatch(r"etc/(passwd|group|shadow|gshadow)-", path)} <= {
        "etc/sluice/sluice.yaml.dpkg-dist"
    }, left
    assert machine.run("getent", "passwd", "sluice").stdout
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
