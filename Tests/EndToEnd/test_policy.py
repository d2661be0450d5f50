"""Config files on a real appliance: rules, check, reload by signal and socket, wrong files."""

import json
import signal
import socket
import stat
import struct
import time

import pytest
import yaml
from jsonschema import Draft202012Validator

from conftest import BACKENDS
from lab import BIN, GIVE_UP, ROOT, run, wait_until
from packets import (
    A4,
    B4,
    ENDPOINT,
    aws_options,
    checksum,
    echo4,
    geneve,
    ipv4,
    next_port,
    outer,
    tcp4,
    udp4,
)
from reloading import COUNT, DROP, reload, reloads, rules, start

EXAMPLES = ROOT / "deploy" / "examples"
WRONG = ROOT / "Tests" / "ConfigurationTests" / "WrongConfigs"
SCHEMA = ROOT / "deploy" / "schema" / "sluice.schema.json"


def request(text, port, endpoint=ENDPOINT):
    return outer(geneve(udp4(text, dport=port), options=aws_options(endpoint)))


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("io", BACKENDS)
@pytest.mark.parametrize("workers", [1, 4])
def test_the_blog_as_a_file(fresh, own_gateway, control, io, workers):
    start(fresh, EXAMPLES / "blog.yaml", control, "--io", io, "--workers", workers)
    assert own_gateway.pass_inner(udp4(b"hello", dport=3000)) == udp4(b"hello", dport=3000)
    own_gateway.refused(request(b"please drop me", 3000))
    assert own_gateway.pass_inner(udp4(b"weakly typed", dport=3000)) == udp4(
        b"strongly typed", dport=3000
    )
    for sequence in range(1, 21):
        ping = echo4(sequence)
        if sequence % 5:
            assert own_gateway.pass_inner(ping) == ping
        else:
            own_gateway.refused(outer(geneve(ping)))
    metrics = fresh.quiet_metrics()
    hits = metrics.by("sluice_rule_hits_total", "rule")
    assert hits == {"drop-me": 1, "strongly-typed": 1, "every-fifth-ping": 4}
    assert metrics.dropped() == {"rule": 5}
    own_gateway.check_silence()


def test_an_endpoint_has_its_own_policy(fresh, own_gateway, control, config):
    # Another endpoint than the one that the gateway's own packets have.
    text = (EXAMPLES / "one-endpoint.yaml").read_text().replace("vpce-0123456789abcdef0", "vpce-5")
    start(fresh, config(text), control, "--workers", 2)
    own, other = 5, 0x99
    assert own_gateway.ask(request(b"x" * 600, 53, endpoint=own))
    own_gateway.refused(request(b"x", 5353, endpoint=own))
    assert own_gateway.ask(request(b"x", 5353, endpoint=other))
    hits = fresh.quiet_metrics().by("sluice_rule_hits_total", "rule")
    assert hits == {"no-telnet": 0, "web": 0, "large-dns-trial": 1, "dns": 1}


def test_only_answers_come_back(fresh, own_gateway, control, config):
    out_rule = f"{{ name: out, match: {{ source: {B4} }}, action: forward }}"
    answers = "{ name: answers, match: { flow: established }, action: forward }"
    start(fresh, config(rules(out_rule, answers, default="drop")), control, "--workers", 2)
    out = udp4(b"out", sport=41000, dport=53)
    back = udp4(b"back", sport=53, dport=41000, source=A4, destination=B4)
    own_gateway.refused(outer(geneve(back)))
    assert own_gateway.pass_inner(out) == out
    assert own_gateway.pass_inner(back) == back
    assert fresh.quiet_metrics().dropped() == {"default": 1}


@pytest.mark.parametrize("io", BACKENDS)
@pytest.mark.parametrize("steer", ["flow", "addresses"])
def test_errors_about_a_live_flow_come_back(fresh, own_gateway, control, config, io, steer):
    """Path MTU discovery: a router's error meets the flow that it is about, whichever worker has it."""
    out_rule = f"{{ name: out, match: {{ source: {B4} }}, action: forward }}"
    answers = "{ name: answers, match: { flow: [established, related] }, action: forward }"
    text = rules(out_rule, answers, default="drop")
    start(fresh, config(text), control, "--workers", 4, "--io", io, "--steer", steer)

    def too_big(packet):
        head = struct.pack("!BBHI", 3, 4, 0, 1400) + packet[:28]
        body = head[:2] + struct.pack("!H", checksum(head)) + head[4:]
        return ipv4(1, body, source="10.9.9.9", destination=B4)

    for port in range(41000, 41010):
        sent = tcp4(b"data", sport=port, flags=0x10)
        assert own_gateway.pass_inner(sent) == sent
        assert own_gateway.pass_inner(too_big(sent)) == too_big(sent)
    own_gateway.refused(outer(geneve(too_big(tcp4(b"data", sport=42000)))))
    redirect = ipv4(1, bytes([5, 1, 0, 0, 10, 9, 9, 8]) + sent[:28], source="10.9.9.9", destination=B4)
    own_gateway.refused(outer(geneve(redirect)))
    assert fresh.quiet_metrics().dropped() == {"default": 2}


def unkeyed_worker(source, destination, sport, dport, workers):
    """Where a flow of UDP over IPv4 would go if the hash had no key; its worker, and the hash."""
    def mixed(h, first, factor, second):
        h = ((h ^ h >> first) * factor) & 0xFFFFFFFF
        return h ^ h >> second

    def side(address, port):
        (word,) = struct.unpack("!I", socket.inet_aton(address))
        return mixed((word + port * 0x9E3779B1) & 0xFFFFFFFF, 16, 0x85EBCA6B, 13)

    total = (side(source, sport) + side(destination, dport) + 17) & 0xFFFFFFFF
    h = mixed(total, 16, 0x7FEB352D, 15)
    return (h >> 16) * workers >> 16, h


@pytest.mark.parametrize("io", BACKENDS)
def test_nobody_aims_flows_at_one_worker(fresh, own_gateway, control, config, io):
    """300 flows that were chosen for worker 0 of a hash without a key; with one, chance spreads them."""
    assert unkeyed_worker(A4, B4, 5000, 3000, 4)[1] == 0xA8F22618, "as FlowHashTests has it"
    start(fresh, config(rules(default="forward")), control, "--workers", 4, "--io", io)
    chosen = [port for port in range(10000, 30000) if unkeyed_worker(B4, A4, port, 53, 4)[0] == 0][:300]
    packets = [outer(geneve(udp4(b"x", sport=port, dport=53))) for port in chosen]
    assert len(own_gateway.exchange(*packets, answers=300)) == 300
    made = fresh.quiet_metrics().by("sluice_flows_created_total", "worker")
    assert max(made.values()) < 200, made


def test_a_rule_that_logs(fresh, own_gateway, control, config):
    path = config(rules("{ name: seen, match: { port: 4000 }, action: [log, drop] }"))
    program = start(fresh, path, control)
    own_gateway.refused(request(b"secret %s %n", 4000))
    program.wait_for("rule seen: drop destination=192.168.")
    assert "secret" not in program.text
    for _ in range(50):
        own_gateway.send(*[request(b"x", 4000) for _ in range(20)])
    program.wait_for("more packets matched, of which no line is written")
    assert program.text.count("rule seen:") < 100


@pytest.mark.parametrize(
    ("io", "workers", "flows"), [("udp", 1, 1), ("udp", 4, 1), ("udp", 4, 64), ("packet", 2, 64)]
)
def test_a_rate_is_the_whole_appliances(fresh, own_gateway, control, config, io, workers, flows):
    """Real packets, far more than the limit, on one worker and on all."""
    rate, burst = 200, 20
    limit = f"{{ packets-per-second: {rate}, burst: {burst} }}"
    path = config(rules(f"{{ name: limit, match: {{ port: 4000, rate: {limit} }}, action: drop }}"))
    start(fresh, path, control, "--io", io, "--workers", workers)
    sent, begin = 0, time.monotonic()
    while time.monotonic() < begin + 2:
        own_gateway.send(*[
            outer(geneve(udp4(b"x", sport=20000 + (sent + i) % flows, dport=4000)), sport=next_port())
            for i in range(10)
        ])
        sent += 10
        time.sleep(0.005)
    offered = time.monotonic() - begin
    wait_until(lambda: fresh.metrics().total("sluice_packets_received_total") >= sent, "all arrive")
    most = burst + rate * (time.monotonic() - begin) + 1
    metrics = fresh.quiet_metrics()
    passed = metrics.total("sluice_packets_forwarded_total")
    assert sent > 2 * rate * offered, "too few were offered"
    assert 0.9 * rate * offered <= passed <= most
    assert metrics.by("sluice_rule_hits_total", "rule") == {"limit": sent - passed}
    assert metrics.dropped() == {"rule": sent - passed}


# --- check ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_check_accepts_the_examples(path):
    done = run(BIN / "sluice", "check", path)
    assert done.stdout.startswith(f"{path}: valid"), done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_check_refuses_a_wrong_file(path):
    wanted = path.read_text().splitlines()[0][2:].split(" | ")
    done = run(BIN / "sluice", "check", path, check=False)
    assert done.returncode == 78
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == len(wanted), lines
    for line, want in zip(lines, wanted):
        assert line.startswith(f"{path}:"), line
        assert want in line


def test_a_start_with_a_wrong_file_starts_nothing(fresh, control):
    path = WRONG / "port-word.yaml"
    program = fresh.start_appliance("--config", path, "--control", control, ready=False)
    assert program.wait() == 78
    assert program.text.splitlines() == [
        f"{path}:5: policy.rules[0].match.port: expected a port from 0 to 65535, "
        "or a range such as 1000-2000, found 'http'"
    ]
    assert not control.exists()


def test_a_flag_beats_a_variable_beats_the_file(fresh, control, config):
    path = config("listen: { workers: 1 }\nlog: { format: json }\n")
    for flags, environment, workers in (
        ([], {}, 1),
        ([], {"SLUICE_WORKERS": "2"}, 2),
        (["--workers", "3"], {"SLUICE_WORKERS": "2"}, 3),
    ):
        program = fresh.start_appliance(
            "--config", path, "--control", control, *flags, environment=environment
        )
        assert len(fresh.status()["workers"]) == workers
        assert json.loads(program.text.splitlines()[0])["level"] == "info"
        assert program.stop() == 0
        assert not control.exists()


# --- reload --------------------------------------------------------------------------------------

@pytest.mark.parametrize("io", BACKENDS)
def test_reload_takes_the_new_rules_over(fresh, own_gateway, control, config, io):
    path = config(rules(DROP))
    start(fresh, path, control, "--io", io, "--workers", 2)
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    own_gateway.refused(request(b"x", 4000))
    config(rules(COUNT))
    done = reload(control)
    assert (done.returncode, done.stdout, done.stderr) == (0, "generation 2\n", "")
    assert own_gateway.ask(request(b"x", 4000))
    metrics = fresh.quiet_metrics()
    assert metrics.by("sluice_rule_hits_total", "rule") == {"rule": 2}, "counted on by name"
    assert reloads(metrics) == (2, 1, 0, 1)


def test_sighup_reloads(fresh, own_gateway, control, config):
    path = config(rules(DROP))
    program = start(fresh, path, control)
    config(rules(COUNT))
    program.send_signal(signal.SIGHUP)
    program.wait_for("reloaded: generation 2")
    assert own_gateway.ask(request(b"x", 4000))


def test_a_wrong_file_changes_nothing(fresh, own_gateway, control, config):
    path = config(rules(DROP))
    program = start(fresh, path, control)
    config(rules("{ name: rule, match: { prt: 4000 }, action: drop }") + "mtu: none\n")
    done = reload(control)
    assert done.returncode == 78
    assert done.stderr.splitlines() == [
        f"{path}:4: policy.rules[0].match: unknown key 'prt': did you mean port?",
        f"{path}:5: mtu: expected a number from 68 to 65000, found 'none'",
    ]
    own_gateway.refused(request(b"x", 4000))
    assert reloads(fresh.metrics()) == (1, 0, 1, 0)
    assert "not reloaded" in program.text
    path.unlink()
    assert reload(control).returncode == 78
    config(rules(COUNT))
    assert reload(control).returncode == 0
    assert own_gateway.ask(request(b"x", 4000))
    assert reloads(fresh.metrics()) == (2, 1, 2, 1)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("listen: { workers: 1 }", "listen.workers"),
        ("listen: { io: raw }", "listen.io"),
        ("listen: { ring: { frames: 128 } }", "listen.ring"),
        ('health: { address: "0.0.0.0:8090" }', "health"),
        ("flows: { per-worker: 1024 }", "flows.per-worker"),
    ],
)
def test_what_cannot_change_live_is_refused(fresh, control, config, text, key):
    path = config("listen: { io: udp, workers: 2 }\nhealth: { address: \"0.0.0.0:8080\" }\n")
    fresh.start("appliance", BIN / "sluice", "run", "--config", path, "--control", control).wait_for(
        "ready"
    )
    if not text.startswith("listen"):
        text = "listen: { io: udp, workers: 2 }\n" + text
    config(text)
    done = reload(control)
    assert done.returncode == 78
    assert f"{path}: {key} cannot change live: restart" in done.stderr.splitlines()


def test_live_settings_change_live(fresh, own_gateway, control, config):
    path = config("listen: { allow-sources: [0.0.0.0/0] }\n")
    start(fresh, path, control)
    assert own_gateway.ask(request(b"x", 4000))
    config("listen: { allow-sources: [10.9.9.0/24] }\n")
    assert reload(control).returncode == 0
    own_gateway.send(request(b"x", 4000))
    wait_until(
        lambda: fresh.metrics().dropped() == {"source_not_allowed": 1}, "the source is refused"
    )
    config("listen: { allow-sources: [0.0.0.0/0] }\npolicy: { default: drop }\n")
    assert reload(control).returncode == 0
    own_gateway.send(request(b"x", 4000))
    wait_until(
        lambda: fresh.metrics().dropped() == {"source_not_allowed": 1, "default": 1}, "default"
    )


def test_without_an_appliance_reload_says_so(control):
    done = reload(control)
    assert done.returncode == 71
    assert done.stderr.startswith(f"sluice: no appliance answers at {control}: ")


def test_the_control_socket_bears_garbage(fresh, control, config):
    path = config(rules(DROP))
    program = start(fresh, path, control)
    for garbage in (b"\n", b"{}\n", b'{"command": "explode"}\n', b"\xff" * 5000, b"reload", b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(control))
            client.settimeout(GIVE_UP)
            client.sendall(garbage)
            reply = json.loads(client.recv(65536))
            assert reply["ok"] is False
            assert reply["errors"]
    assert fresh.health()[0] == 200
    assert reload(control).returncode == 0
    assert program.running


def test_a_second_appliance_keeps_off_the_socket(fresh, control, config):
    path = config(rules(DROP))
    start(fresh, path, control)
    second = fresh.start("gwlb", BIN / "sluice", "run", "--config", path, "--control", control)
    assert second.wait() == 71
    assert "belongs to a running appliance" in second.text
    assert reload(control).returncode == 0


# --- the schema ----------------------------------------------------------------------------------


def schema_errors(path):
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, RecursionError) as error:
        return [str(error) or type(error).__name__]
    errors = Draft202012Validator(schema).iter_errors(document or {})
    return [error.message for error in errors]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples(path):
    assert schema_errors(path) == []


# What a schema cannot say: duplicates, comparisons, sums of conditions, other files, and what
# readers of YAML 1.1 take for something else: yes for true, 0x10 and 010 for numbers, << for a merge.
BEYOND_THE_SCHEMA = set(
    """
    action-after-drop address-bad-file address-no-file address-version allow-sources-host-bits
    busy-poll-yes cpus-backwards destination-host-bits drain-order duplicate-key-nested
    duplicate-key duplicate-rule-name-endpoint duplicate-rule-name endpoints-same flags-both
    flags-udp flows-idle-zero flows-power fragment-later-port health-same-port
    interface-auto-and-name not-flow-any ttl-backwards replace-icmp-condition replace-not-whole
    rule-name-terminal payload-escape port-backwards port-with-icmp rate-flows replace-fragment
    replace-grows-tcp replace-icmp source-leading-zero source-length steer-cpu
    busy-poll-on drain-hex interface-impossible merge-key mtu-hex mtu-octal mtu-plus
    mtu-underscore port-octal port-quoted processor
    """.split()
)


@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_refuses_what_it_can(path):
    errors = schema_errors(path)
    assert bool(errors) == (path.stem not in BEYOND_THE_SCHEMA), errors
