"""The examples of the library: built as a user builds them, from a copy, and run with real clients."""

import os
import re
import shutil
import socket
import ssl
import struct
import threading

import pytest

from lab import GIVE_UP, ROOT, run
from packets import A4, B4

EXAMPLES = ROOT / "Sources" / "Examples"
NAMES = ["EgressLogger", "SizeHistogram", "DNSLifetime"]
COST = ROOT / "Tests" / "Library" / "Cost"
# Of its own, so that the main build stays as it is; kept, so that a second run builds little.
SCRATCH = ROOT / ".build-examples"
BUILD_GIVE_UP = 1500
pytestmark = pytest.mark.timeout(BUILD_GIVE_UP)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The packages of the examples somewhere else, with the path to this checkout."""
    folder = tmp_path_factory.mktemp("packages")
    for source in (*(EXAMPLES / name for name in NAMES), COST):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns(".build*"))
        manifest = folder / source.name / "Package.swift"
        text = manifest.read_text()
        assert 'name: "sluice", path: "../../.."' in text
        manifest.write_text(text.replace('path: "../../.."', f'path: "{ROOT}"'))
    for name in ("EgressLogger", "SizeHistogram"):
        shutil.copy(folder / name / "Sources" / name / f"{name}.swift", folder / "Cost/Sources/Cost")
    return folder


@pytest.fixture(scope="module")
def build(copies):
    """Builds a package (release), and gives the folder of its program."""

    # One scratch folder, so that the packages that all depend on are compiled once. SwiftPM keeps the
    # plan of the package before, unless it is gone.
    def swift(name, *options, verb="build"):
        for plan in SCRATCH.glob("*.yaml"):
            plan.unlink()
        return run(
            "swift", verb, "-c", "release", "--package-path", copies / name,
            "--scratch-path", SCRATCH, *options, timeout=BUILD_GIVE_UP,
        )  # fmt: skip

    def made(name, program):
        done = swift(name)
        own = [line for line in (done.stdout + done.stderr).splitlines() if str(copies) in line]
        assert not [line for line in own if "warning:" in line], own
        binary = os.path.join(swift(name, "--show-bin-path").stdout.strip(), program)
        # The next package's build may take it for its own.
        (copies / "bin").mkdir(exist_ok=True)
        return shutil.copy(binary, copies / "bin" / program)

    made.swift = swift
    return made


@pytest.fixture(scope="module")
def egress_logger(build):
    return build("EgressLogger", "egress-logger")


@pytest.fixture(scope="module")
def size_histogram(build):
    return build("SizeHistogram", "size-histogram")


@pytest.fixture(scope="module")
def cost(build):
    return build("Cost", "Cost")


def start(lab, program, *arguments):
    return lab.start(
        "appliance", program, "run", "--health", "0.0.0.0:8080", "--drain-minimum", "1", *arguments
    ).wait_for("ready")  # fmt: skip


# --- what a user's code has no need of -------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_safe(name):
    sources = sorted((EXAMPLES / name / "Sources").rglob("*.swift"))
    texts = [path.read_text() for path in sources]
    assert sum(len(text.splitlines()) for text in texts) <= 120
    for text in [*texts, (EXAMPLES / name / "Package.swift").read_text()]:
        assert not re.search(r"unsafe|Unsafe|Experimental|@_|swiftSettings", text)


# --- the command line of a user's program ----------------------------------------------------------


def test_a_users_program_has_the_whole_command_line(egress_logger, tmp_path):
    done = run(egress_logger, "version")
    assert re.fullmatch(r"egress-logger: sluice \S+ \(Swift \S+\)\n", done.stdout)
    assert "USAGE: egress-logger" in run(egress_logger, "--help").stdout
    assert run(egress_logger, "explode", check=False).returncode == 64
    path = tmp_path / "good.yaml"
    path.write_text("policy: { default: drop }\nprocessor: { dns-port: 5353, blocked: [a.example] }\n")
    assert run(egress_logger, "check", path).stdout.startswith(f"{path}: valid, 0 rules")
    path.write_text("processor:\n  tls-port: 444\n  bloked: []\n")
    for words in (["check", path], ["run", "--config", path]):
        done = run(egress_logger, *words, check=False)
        assert done.returncode == 78
        assert done.stderr == f"{path}:3: processor: unknown key 'bloked': did you mean blocked?\n"


# --- end to end ------------------------------------------------------------------------------------


def dns_query(name):
    labels = b"".join(struct.pack("!B", len(part)) + part.encode() for part in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


class Servers:
    """In host b: answers DNS with its own query, and takes TLS connections only to close them."""

    def __init__(self, lab):
        self.dns = lab.socket("b", ("0.0.0.0", 53))
        self.tls = lab.socket("b", ("0.0.0.0", 443), kind=socket.SOCK_STREAM)
        self.tls.listen()
        for body in (self._answer, self._accept):
            threading.Thread(target=body, daemon=True).start()

    def _answer(self):
        while True:
            try:
                query, client = self.dns.recvfrom(4096)
                self.dns.sendto(query[:2] + b"\x81\x80" + query[4:], client)
            except (OSError, ValueError):
                return

    def _accept(self):
        while True:
            try:
                client = self.tls.accept()[0]
                client.recv(4096)
                client.close()
            except (OSError, ValueError):
                return

    def close(self):
        for one in (self.dns, self.tls):
            one.close()


def ask(lab, name, timeout=GIVE_UP):
    """Whether a DNS query of host a is answered."""
    with lab.socket("a") as client:
        client.settimeout(timeout)
        client.sendto(dns_query(name), (B4, 53))
        try:
            return client.recv(4096)[:2] == b"\0\7"
        except TimeoutError:
            return False


def greet(lab, name):
    """Sends a real ClientHello; the server ends the connection."""
    with lab.socket("a", kind=socket.SOCK_STREAM) as client:
        client.connect((B4, 443))
        with pytest.raises((ssl.SSLError, OSError)):
            ssl.create_default_context().wrap_socket(client, server_hostname=name)


def test_the_egress_logger(egress_logger, fresh, emulator, tmp_path):
    """Names of DNS and TLS in the log, a configuration that changes live, rules behind it."""
    path, control = tmp_path / "egress.yaml", tmp_path / "control.sock"
    no_ping = "policy:\n  rules:\n    - { name: no-ping, match: { protocol: icmp }, action: drop }\n"
    path.write_text(no_ping)
    program = start(fresh, egress_logger, "--config", path, "--control", control, "--workers", 2)
    running = emulator()
    servers = Servers(fresh)
    try:
        assert ask(fresh, "www.example.org")
        program.wait_for(f"{A4} asks for www.example.org")
        greet(fresh, "secure.example.net")
        program.wait_for(f"{A4} connects to secure.example.net")
        ping = ("ping", "-n", "-c", 3, "-i", "0.1", "-W", 1, B4)
        assert fresh.run("a", *ping, check=False).returncode == 1
        metrics = fresh.quiet_metrics()
        assert metrics.total("sluice_processor_dns_queries_total") == 1
        assert metrics.total("sluice_processor_tls_hellos_total") == 1
        assert metrics.total("sluice_processor_blocked_total") == 0
        assert metrics.total("sluice_events_emitted_total") == 2
        assert metrics.by("sluice_rule_hits_total", "rule") == {"no-ping": 3}
        assert metrics.dropped() == {"rule": 3}

        path.write_text(no_ping + "processor:\n  tls-port: 53\n")
        done = run(egress_logger, "reload", "--control", control, check=False)
        assert done.returncode == 78
        assert done.stderr == f"{path}:5: processor.tls-port: DNS and TLS cannot have the same port\n"
        assert fresh.metrics().total("sluice_config_generation") == 1

        path.write_text("processor: { blocked: [example.org] }\n")
        done = run(egress_logger, "reload", "--control", control)
        assert done.stdout == "generation 2\n"
        assert not ask(fresh, "www.Example.org", timeout=1)
        program.wait_for(f"{A4} asks for www.Example.org: blocked")
        assert ask(fresh, "example.org.example.com")
        assert fresh.run("a", *ping).returncode == 0
        metrics = fresh.quiet_metrics()
        assert metrics.total("sluice_processor_blocked_total") == 1
        assert metrics.dropped() == {"rule": 3, "processor": 1}
        assert fresh.status()["processor"] == {"blocked": 1, "dns_queries": 3, "tls_hellos": 1}

        path.write_text("processor: { blocked: [] }\n")
        program.send_signal(1)  # SIGHUP
        program.wait_for("reloaded: generation 3")
        assert ask(fresh, "www.example.org")
    finally:
        servers.close()
    verdict = running.finish()[1]
    assert not any(verdict["violations"].values()), verdict
    assert program.stop() == 0


def test_the_size_histogram(size_histogram, fresh, emulator):
    """Pings of known sizes fall where they belong; there is no config file."""
    program = start(fresh, size_histogram, "--io", "udp", "--workers", 1)
    running = emulator("--expect", "reflect")
    before = fresh.quiet_metrics()
    # 20 bytes of IPv4, 8 of ICMP, for each way: request and answer.
    for inner, count in ((100, 2), (128, 1), (129, 3), (600, 2), (1500, 1), (4000, 2)):
        fresh.run("a", "ping", "-n", "-c", count, "-i", "0.1", "-W", 5, "-s", inner - 28, B4)
    metrics = fresh.quiet_metrics()
    sizes = {}
    for name in metrics.names:
        if match := re.fullmatch(r"sluice_processor_size_(\w+)_total", name):
            sizes[match[1]] = metrics.total(name) - before.total(name)
    assert sizes == {
        "to128": 6, "to256": 6, "to512": 0, "to1024": 4, "to1500": 2, "above1500": 4,
    }  # fmt: skip
    assert metrics.dropped() == {}
    running.finish_clean()
    assert program.stop() == 0


@pytest.mark.skipif("SLUICE_EXAMPLES" not in os.environ, reason="a release build of its own: tools/test --deep")
def test_an_examples_own_tests_pass(build):
    """As its author runs them, built in release so that what it measures is what it costs."""
    done = build.swift("DNSLifetime", "--disable-xctest", verb="test")
    assert "ns for a packet" in done.stdout + done.stderr


# --- what it costs ---------------------------------------------------------------------------------


def test_the_loop_is_compiled_for_the_users_processor(size_histogram):
    done = run(ROOT / "tools" / "hotpath", size_histogram, "SizeHistogram", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_example_costs_what_the_built_in_path_costs(cost, tmp_path):
    """Instructions per packet that passes: the examples against the built-in policy, and the chain
    against the rules alone."""
    script = (
        'source tools/callgrind.sh; count_between_marks "$0" "$1"; mark=0; '
        "while read -r name packets; do "
        'echo "$name $(( ($(dumped "$0" $((mark + 1))) - $(dumped "$0" $((mark + 2)))) / packets ))"; '
        'mark=$((mark + 2)); done <"$0/printed"'
    )
    done = run("bash", "-euc", script, tmp_path, cost, cwd=ROOT)
    costs = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    print(costs)
    assert set(costs) == {"BlogPolicy", "SizeHistogram", "EgressLogger", "Rules", "Chain"}
    assert costs["BlogPolicy"] <= 400
    assert costs["SizeHistogram"] <= 1.05 * costs["BlogPolicy"], costs
    assert costs["EgressLogger"] <= 1.05 * costs["BlogPolicy"], costs
    assert costs["Chain"] <= 1.05 * costs["Rules"], costs
