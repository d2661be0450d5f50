"""An appliance that starts and stops in a difficult place: no log reader, a taken port, no room."""

import signal
import subprocess
import time

import pytest

from conftest import BACKENDS
from lab import BIN, check_refusal, run, wait_until
from packets import geneve, outer, udp4


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&1 | true"])
def test_a_lost_log_reader_does_not_stop_the_appliance(fresh, redirection):
    shell = fresh.start("appliance", "sh", "-c", f"{BIN}/sluice run --io udp --workers 1 {redirection}")
    wait_until(lambda: fresh.health()[0] == 200, "health turns 200")
    pid = appliance_pid(fresh)
    subprocess.run(["kill", "-TERM", pid], check=True)
    wait_until(lambda: fresh.health()[0] == 503, "health turns 503: the control loop lives")
    subprocess.run(["kill", "-INT", pid], check=True)
    shell.wait()


def appliance_pid(lab):
    """The sluice in the appliance's namespace, whatever shell is around it."""
    pids = subprocess.run(
        ["ip", "netns", "pids", lab.namespace("appliance")], capture_output=True, text=True
    ).stdout.split()
    for pid in pids:
        with open(f"/proc/{pid}/comm") as comm:
            if comm.read().strip() == "sluice":
                return pid
    raise AssertionError(f"no sluice among {pids}")


def test_every_refused_start_ends_and_names_the_first(fresh):
    first = fresh.start_appliance("--io", "udp", "--workers", 1)
    for _ in range(80):
        check_refusal(fresh.start("appliance", BIN / "sluice", "run"), 71, f"{first.pid}")


@pytest.mark.parametrize("io", BACKENDS)
def test_one_interface_leaves_no_icmp_on_the_others(fresh, own_gateway, io):
    fresh.start_appliance("--io", io, "--interface", "lo")
    own_gateway.send(outer(geneve(udp4(b"on another interface"))))
    assert own_gateway.collect(time.monotonic() + 2) == []
    own_gateway.check_silence()


@pytest.fixture
def little_option_memory(fresh):
    """Less than the steering program of raw needs."""
    sysctl = ["ip", "netns", "exec", fresh.namespace("appliance"), "sysctl", "-n"]
    name = "net.core.optmem_max"
    before = subprocess.run([*sysctl, name], capture_output=True, text=True)
    if before.returncode != 0:
        pytest.skip(f"this kernel has no {name} of its own in a network namespace")
    subprocess.run([*sysctl, "-w", f"{name}=2000"], check=True, capture_output=True)
    yield
    subprocess.run([*sysctl, "-w", f"{name}={before.stdout.strip()}"], check=True)


def test_a_worker_that_cannot_open_its_filter_ends_the_start(fresh, little_option_memory):
    check_refusal(fresh.start("appliance", BIN / "sluice", "run", "--io", "raw"), 71, "filter")


def test_no_other_program_takes_the_tcp_health_port_during_a_drain(fresh):
    program = fresh.start_appliance(
        "--health-tcp", "0.0.0.0:8081", "--drain-minimum", 30, "--drain-timeout", 60
    )
    program.send_signal(signal.SIGTERM)
    wait_until(lambda: fresh.health()[0] == 503, "health turns 503")
    thief = (
        "import socket; s = socket.socket(); "
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('0.0.0.0', 8081))"
    )
    taken = fresh.start("appliance", "python3", "-c", thief)
    assert taken.wait() != 0, "the port was free to take"
    program.send_signal(signal.SIGINT)
    assert program.wait() == 0


@pytest.mark.parametrize("arguments", [["version"], ["check", "rules.yaml"]], ids=lambda a: a[0])
def test_without_proc_the_program_reads_its_arguments(tmp_path, arguments):
    (tmp_path / "rules.yaml").write_text("policy: {}\n")
    script = 'mount -t tmpfs none /proc && exec "$@"'
    run("unshare", "-m", "sh", "-c", script, "sh", BIN / "sluice", *arguments, cwd=tmp_path)


def test_without_a_descriptor_the_program_reads_its_arguments():
    assert run("sh", "-c", 'ulimit -n 3; exec "$@"', "sh", BIN / "sluice", "version").stdout.startswith("sluice ")
