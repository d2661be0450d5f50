"""tools/lab as a user calls it, and the end of an interrupted tools/test."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from lab import BIN, PREFIX, ROOT, run, wait_until, without_ours

POLICY = "policy: { rules: [{ name: pings, match: { protocol: icmp }, action: drop }] }\n"


@pytest.fixture
def tool():
    """tools/lab under a name of its own, which a crash leaves to remove_leftovers."""
    name = f"{PREFIX}{os.getpid()}x"
    environment = {**without_ours(os.environ), "SLUICE_LAB": name, "SLUICE_BIN": str(BIN)}

    def call(*arguments, check=True):
        return run(ROOT / "tools/lab", *arguments, env=environment, check=check)

    call.namespaces = lambda: [path for path in Path("/run/netns").glob(f"{name}-*")]
    call.environment = environment
    call.state = Path("/run/sluice-lab") / name
    yield call
    call("down")
    run("rm", "-rf", call.state)


def test_the_lab_runs_a_policy_and_says_what_came_of_it(tool, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    up = tool("up", "--config", policy)
    for command in ("shell a", "exec b -- ping", "status", "down"):
        assert f"tools/lab {command}" in up.stdout
    ping = tool("exec", "b", "--", "ping", "-c", 2, "-i", "0.2", "-W", 1, "192.168.1.10", check=False)
    assert "100% packet loss" in ping.stdout
    down = tool("down")
    assert re.search(r"^encapsulated [2-9]\d*, delivered 0, flows 1$", down.stdout, re.M), down.stdout
    assert re.search(r"^violations: addresses 0, .*missing_drop 0", down.stdout, re.M)
    assert tool("down").stdout == "" and not tool.namespaces()


def test_a_lab_that_does_not_come_up_leaves_its_logs_alone(tool, tmp_path):
    failed = tool("up", "--sluice-args", "--frobnicate", check=False)
    assert failed.returncode == 71 and "--frobnicate" in failed.stderr and str(tool.state) in failed.stderr
    assert not tool.namespaces() and (tool.state / "sluice.log").exists()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("polici: {}\n")
    refused = tool("up", "--config", wrong, check=False)
    assert refused.returncode == 78 and "polici" in refused.stderr and not tool.namespaces()


def test_an_interrupted_lab_leaves_nothing(tool):
    up = subprocess.Popen([ROOT / "tools/lab", "up"], env=tool.environment, stderr=subprocess.PIPE)
    wait_until(tool.namespaces, "a namespace of the lab")
    up.send_signal(signal.SIGTERM)
    assert up.wait(60) == 130
    up.stderr.close()
    assert not tool.namespaces()


def marked(pid):
    """The processes that tools/test of this number has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"TOOLS_TEST={pid}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return [number for number in found if number != pid]


def test_an_interrupt_ends_all_that_tools_test_started():
    """A signal to tools/test alone, as a service manager sends it; Ctrl-C reaches its children as well."""
    environment = {**os.environ, "SLUICE_BIN": str(BIN)}
    tests = subprocess.Popen([ROOT / "tools/test", "every_fifth_ping"], env=environment, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def spaces():
        return [path.name for number in marked(tests.pid) for path in Path("/run/netns").glob(f"{PREFIX}{number}-*")]

    names = wait_until(spaces, "a namespace of the tests")
    tests.send_signal(signal.SIGINT)
    assert tests.wait(120) == 130
    assert not marked(tests.pid)
    assert not [name for name in names if Path("/run/netns", name).exists()]
