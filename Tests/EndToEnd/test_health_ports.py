"""The health port when much is asked of it, the admin port, and few descriptors."""

import contextlib
import hashlib
import os
import socket
import subprocess
import time

import pytest

from lab import BIN, check_refusal, wait_until
from reloading import DROP, reload, rules, start
from test_operations import check_probe, connections, tcp_accepts

MANY_RULES = 4_000  # it takes a debug build a while to read them
PAGE = b"GET /metrics HTTP/1.1\r\nHost: appliance\r\n\r\n"


@pytest.fixture(scope="module")
def many_rules(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "sluice.yaml"
    texts = (f"{{ name: rule-{i}, match: {{ port: {i + 1} }}, action: count }}" for i in range(MANY_RULES))
    path.write_text(rules(*texts))
    return path


def cpu(program, thread=None):
    """Seconds of CPU that a program, or one thread of it, has used."""
    place = f"/task/{program.threads()[thread]}" if thread else ""
    with open(f"/proc/{program.pid}{place}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_page_delays_a_probe(fresh, many_rules, control):
    """Sixty clients ask for thousands of rules, again and again in one breath, and read nothing."""
    program = start(fresh, many_rules, control, "--workers", 1)
    assert fresh.metrics().total("sluice_flows_capacity") == 262_144
    with connections(fresh, 60, PAGE * 300):
        for _ in range(10):
            check_probe(fresh)
    assert len(fresh.metrics().samples["sluice_rule_hits_total"]) == MANY_RULES
    with open(f"/proc/{program.pid}/task/{program.threads()['sluice-pages']}/stat") as file:
        assert int(file.read().rpartition(")")[2].split()[16]) == 10, "it gives way to workers"


def test_many_who_ask_at_once_cost_little_more_than_one(fresh, many_rules, control):
    program = start(fresh, many_rules, control, "--workers", 1)

    def cost(clients):
        before = cpu(program, "sluice-pages")
        with connections(fresh, clients, PAGE) as opened:
            for client in opened:
                while client.recv(1 << 16):
                    pass
        return cpu(program, "sluice-pages") - before

    one = cost(1)
    assert cost(40) < 20 * max(one, 0.01)


def test_admin_has_the_counters_and_the_health_port_health_alone(fresh):
    fresh.start_appliance("--io", "udp", "--workers", 1, "--admin", "0.0.0.0:9090")
    for path in ("/metrics", "/status"):
        code, body = fresh.http(path)
        assert code == 404 and "0.0.0.0:9090" in body, "it says where"
        assert fresh.http(path, port=9090)[0] == 200
    for port in (8080, 9090):
        assert fresh.http("/health", port=port)[0] == 200


def test_without_admin_there_is_no_other_port(fresh):
    fresh.start_appliance("--io", "udp", "--workers", 1)
    assert not tcp_accepts(fresh, 9090)


# --- descriptors ---------------------------------------------------------------------------------


def test_few_descriptors_keep_no_probe_out(fresh):
    program = fresh.start_appliance("--workers", 2, prefix=("prlimit", "--nofile=48:48"))
    with connections(fresh, 100):
        for _ in range(5):
            check_probe(fresh)
        before = cpu(program)
        time.sleep(1)
        assert cpu(program) - before < 0.5, "nothing spins"
    assert program.running


def test_too_few_descriptors_end_the_start(fresh):
    program = fresh.start(
        "appliance", BIN / "sluice", "run", "--workers", 2, "--io", "udp",
        prefix=("prlimit", "--nofile=20:20"),
    )  # fmt: skip
    check_refusal(program, 71, "limited to 20")


def test_the_limit_of_descriptors_becomes_the_hard_one(fresh):
    fresh.start_appliance("--workers", 1, prefix=("prlimit", "--nofile=64:512"))
    assert fresh.metrics().total("process_max_fds") == 512


# --- what is told --------------------------------------------------------------------------------


def test_the_metrics_tell_the_file_and_the_last_reload(fresh, control, config):
    path = config(rules(DROP))
    start(fresh, path, control)

    def digest():
        (labels,) = fresh.metrics().samples["sluice_config_info"]
        return dict(labels)["sha256"]

    assert digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    metrics = fresh.metrics()
    began = metrics.total("sluice_config_last_reload_timestamp_seconds")
    assert abs(began - time.time()) < 600
    assert metrics.total("sluice_healthy") == 1
    assert metrics.total("sluice_policy_memory_bytes") > 0
    old = path.read_bytes()
    config("policy: { rules: [")
    assert reload(control).returncode == 78
    assert digest() == hashlib.sha256(old).hexdigest(), "what is in force"
    state = fresh.status()["config"]
    assert state["path"] == str(path) and state["sha256"] == digest()
    assert not state["last_reload"]["succeeded"] and str(path) in state["last_reload"]["errors"][0]
    config(rules(DROP, default="drop"))
    assert reload(control).returncode == 0
    assert digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    metrics = fresh.metrics()
    assert metrics.total("sluice_config_last_reload_timestamp_seconds") > began
    assert metrics.total("sluice_reload_duration_seconds") > 0
    assert fresh.status()["config"]["last_reload"]["errors"] == []


@pytest.mark.parametrize("is_journal", [True, False])
def test_lines_for_the_journal_have_a_priority(tmp_path, is_journal):
    with open(tmp_path / "log", "w+") as log:
        place = os.fstat(log.fileno())
        stream = f"{place.st_dev}:{place.st_ino if is_journal else place.st_ino + 1}"
        subprocess.run(
            [BIN / "sluice", "check", tmp_path / "nothing"],
            stderr=log,
            env={"JOURNAL_STREAM": stream},
        )
        log.seek(0)
        assert log.read().startswith("<3>") == is_journal


# --- remedies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--health", "--admin", "--health-tcp"])
def test_a_low_port_without_its_capability_names_the_setting(fresh, flag):
    program = fresh.start(
        "appliance", BIN / "sluice", "run", flag, "0.0.0.0:81",
        prefix=("setpriv", "--bounding-set=-net_bind_service"),
    )  # fmt: skip
    check_refusal(program, 77, flag, "1024")


def test_a_folder_that_is_not_ours_names_the_setting(fresh, config, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    os.chown(folder, 65534, 65534)
    program = fresh.start(
        "appliance", BIN / "sluice", "run", "--config", config(rules(DROP)),
        "--control", folder / "control.sock",
        prefix=("setpriv", "--bounding-set=-dac_override"),
    )  # fmt: skip
    check_refusal(program, 71, "--control", "Permission denied")


def test_an_empty_control_path_is_refused(fresh, config):
    program = fresh.start(
        "appliance", BIN / "sluice", "run", "--config", config(rules(DROP)), "--control", ""
    )
    check_refusal(program, 64, "--control", "the path of a socket")


@pytest.mark.parametrize("what", ["file", "set"])
def test_a_file_that_only_the_start_may_read_is_told(fresh, control, config, tmp_path, what):
    prefixes = tmp_path / "prefixes"
    prefixes.write_text("192.0.2.0/24\n")
    path = config(rules("{ name: set, match: { source: '@prefixes' }, action: drop }"))
    theirs = path if what == "file" else prefixes
    os.chown(theirs, 65534, 65534)
    theirs.chmod(0o600)
    program = start(fresh, path, control)
    assert f"{theirs} cannot be read again" in program.text
    refused = reload(control)
    assert refused.returncode == 78 and "Permission denied" in refused.stderr


def test_a_socket_that_another_program_put_in_the_place_stays(fresh, control, config):
    program = start(fresh, config(rules(DROP)), control)
    control.unlink()
    with contextlib.closing(listener(control)):
        assert program.stop() == 0
        assert control.is_socket()


def listener(path):
    held = socket.socket(socket.AF_UNIX)
    held.bind(str(path))
    held.listen()
    return held


def test_our_socket_goes_with_us(fresh, control, config):
    program = start(fresh, config(rules(DROP)), control)
    assert program.stop() == 0
    wait_until(lambda: not control.exists(), "the socket is gone")
