"""What a service manager hears (sd_notify(3)), by a datagram socket in its place."""

import contextlib
import os
import signal
import socket
import time

import pytest

from lab import GIVE_UP, wait_until
from threads import stopped

WATCHDOG = 2  # seconds


class Manager:
    def __init__(self, lab, name):
        self.name = name
        # Abstract names belong to a network namespace.
        self.socket = lab.socket("appliance", family=socket.AF_UNIX)
        self.socket.bind(name.replace("@", "\0"))

    @property
    def environment(self):
        return {
            "NOTIFY_SOCKET": self.name,
            "WATCHDOG_USEC": str(WATCHDOG * 1_000_000),
            "SLUICE_DRAIN_IDLE": "1",
        }

    def next(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def wait_for(self, key):
        """The next message that has `key`."""
        deadline = time.monotonic() + GIVE_UP
        while time.monotonic() < deadline:
            message = self.next()
            if key in message:
                return message
        raise AssertionError(f"{key} is never said")

    def empty(self):
        """Reads what is there."""
        found = []
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.next())
        self.socket.settimeout(GIVE_UP)
        return found


@pytest.fixture
def manager(request, fresh, tmp_path):
    made = Manager(fresh, getattr(request, "param", None) or str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.mark.parametrize(
    "manager", ["", f"@sluice-test-{os.getpid()}"], indirect=True, ids=["path", "abstract"]
)
def test_ready_is_said_when_health_is_200(fresh, manager):
    fresh.start_appliance("--io", "udp", environment=manager.environment, ready=False)
    message = manager.next()
    assert message["READY"] == "1"
    assert "udp" in message["STATUS"]
    assert fresh.health()[0] == 200


def test_a_start_that_fails_is_never_ready(fresh, manager):
    program = fresh.start_appliance(
        "--io", "udp", "--interface", "nosuch0", environment=manager.environment, ready=False
    )
    assert program.wait() == 71
    assert manager.empty() == []


def test_the_watchdog_hears_nothing_while_a_worker_is_stuck(fresh, manager):
    program = fresh.start_appliance("--io", "udp", "--workers", 2, environment=manager.environment)
    for _ in range(3):
        assert manager.wait_for("WATCHDOG") == {"WATCHDOG": "1"}
    with stopped(program.threads()["sluice-w1"]):
        wait_until(lambda: fresh.health()[0] == 503, "health turns 503")
        manager.empty()
        time.sleep(2 * WATCHDOG)
        assert not [message for message in manager.empty() if "WATCHDOG" in message]
    manager.wait_for("WATCHDOG")
    # A drain is no reason to be silent.
    program.send_signal(signal.SIGTERM)
    assert manager.wait_for("STOPPING")["STOPPING"] == "1"
    manager.wait_for("WATCHDOG")
    assert program.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_is_said_once(fresh, manager, number):
    program = fresh.start_appliance("--io", "udp", environment=manager.environment)
    assert program.stop(number) == 0
    assert len([message for message in manager.empty() if "STOPPING" in message]) == 1


def test_a_reload_is_announced_and_ends_ready(fresh, manager, tmp_path):
    config = tmp_path / "sluice.yaml"
    config.write_text("policy: { default: forward }\n")
    control = ("--control", tmp_path / "control.sock")
    program = fresh.start_appliance(
        "--io", "udp", "--config", config, *control, environment=manager.environment
    )
    for text in ("policy: { default: drop }\n", "policy: { nonsense: 1 }\n"):
        config.write_text(text)
        manager.empty()
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        program.send_signal(signal.SIGHUP)
        began = manager.wait_for("RELOADING")
        assert int(began["MONOTONIC_USEC"]) >= before * 1e6 - 1
        assert manager.wait_for("READY")["READY"] == "1"
