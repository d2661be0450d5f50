"""Every key of the config file: what is marked L in deploy/examples/sluice.yaml changes at a reload and
shows its effect at once, what is marked R is refused with that reason and changes nothing."""

import json
import re
import signal
import time

import pytest

from lab import BIN, ROOT, wait_until
from packets import aws_options, geneve, outer, tcp4, udp4
from reloading import reload, reloads


def marked():
    """Key → L or R, as the comments of the example say."""
    marks, section = {}, ""
    for line in (ROOT / "deploy/examples/sluice.yaml").read_text().splitlines():
        found = re.match(r"(#? *)([\w-]+):(.*?)# ([LR])\b", line)
        top = re.match(r"([\w-]+):", line)
        if top:
            section = top[1]
        if not found:
            continue
        indent, key, value, mark = found.groups()
        name = key if top or indent.startswith("#") else f"{section}.{key}"
        inner = re.findall(r"[{,] *([\w-]+): ", value) if top else []
        for part in inner or [None]:
            marks[f"{name}.{part}" if part else name] = mark
    return marks


MARKS = marked()


# --- what needs a restart ------------------------------------------------------------------------

# Key → what the file says of it after the start. At the start it says nothing.
RESTART = {
    "listen.interface": "listen: { interface: lo }",
    "listen.address": "listen: { address: 192.168.20.5 }",
    "listen.io": "listen: { io: udp }",
    "listen.workers": "listen: { workers: 1 }",
    "listen.cpus": "listen: { cpus: 0 }",
    "listen.steer": "listen: { steer: cpu }\nflows: { allow-split-flows: true }",
    "listen.busy-poll": "listen: { busy-poll: true }",
    "listen.qdisc-bypass": "listen: { qdisc-bypass: false }",
    "listen.ring": "listen: { ring: { frames: 128 } }",
    "health.address": 'health: { address: "0.0.0.0:8081" }',
    "health.tcp": 'health: { tcp: "0.0.0.0:8081" }',
    "health.admin": 'health: { admin: "0.0.0.0:8082" }',
    "flows.per-worker": "flows: { per-worker: 1024 }",
}


def test_every_key_is_tested():
    assert set(RESTART) == {key for key, mark in MARKS.items() if mark == "R"}
    assert set(LIVE) == {key for key, mark in MARKS.items() if mark == "L"}


def test_each_key_that_needs_a_restart_is_refused_at_reload(fresh, control, config):
    path = config("policy: {}\n")
    program = fresh.start("appliance", BIN / "sluice", "run", "--config", path, "--control", control)
    program.wait_for("ready")
    for number, (key, text) in enumerate(RESTART.items(), 1):
        config(text + "\n")
        done = reload(control)
        said = "health" if key.startswith("health") else key
        assert done.returncode == 78, key
        assert done.stderr.splitlines() == [f"{path}: {said} cannot change live: restart"]
        assert reloads(fresh.metrics()) == (1, 0, number, 0)
    config("policy: {}\nlisten: {}\n")
    assert reload(control).returncode == 0


# --- what changes live: each starts with `before`, proves it, reloads, proves the other ------------


class Appliance:
    """The appliance of one test."""

    def __init__(self, lab, gateway, config, control):
        self.lab, self.gateway, self.config, self.control = lab, gateway, config, control

    def start(self, text, *arguments):
        path = self.config(text + "\n")
        words = [] if "drain:" in text else ["--drain-minimum", 1, "--drain-timeout", 5]
        self.program = self.lab.start(
            "appliance", BIN / "sluice", "run", "--config", path, "--control", self.control,
            "--workers", 1, *words, *arguments,
        )  # fmt: skip
        wait_until(lambda: self.lab.health()[0] == 200, f"/health: {self.program.text}")

    def change(self, text):
        self.config(text + "\n")
        done = reload(self.control)
        assert done.returncode == 0, done.stderr

    def dropped(self, packet):
        """The reason for which it is dropped."""
        before = self.lab.quiet_metrics().dropped()
        self.gateway.send(packet)
        self.lab.metrics()
        wait_until(lambda: self.lab.metrics().dropped() != before, "the packet is dropped")
        after = self.lab.quiet_metrics().dropped()
        return next(reason for reason in after if after[reason] != before.get(reason))


def request(text=b"x", port=4000, **options):
    return outer(geneve(udp4(text, dport=port)), **options)


def allow_sources(a):
    a.start("listen: { allow-sources: [10.9.9.0/24, 192.168.20.0/24] }")
    assert a.gateway.ask(request())
    a.change("listen: { allow-sources: [10.9.9.0/24] }")
    assert a.dropped(request()) == "source_not_allowed"
    a.change("policy: {}")
    assert a.gateway.ask(request())


def require_aws_options(a):
    bare = outer(geneve(udp4(b"x"), options=b""))
    a.start("geneve: { require-aws-options: true }")
    assert a.dropped(bare) == "aws_options"
    a.change("geneve: { require-aws-options: false }")
    assert a.gateway.ask(bare)


def outer_checksum(a):
    a.start("geneve: { outer-checksum: compute }", "--io", "udp")
    assert a.gateway.ask(request()).udp_checksum != 0
    a.change("geneve: { outer-checksum: zero }")
    assert a.gateway.ask(request()).udp_checksum == 0
    a.change("geneve: { outer-checksum: compute }")
    assert a.gateway.ask(request()).udp_checksum != 0


def verify_outer_checksum(a):
    wrong = request(sum_field=0x1234)
    a.start("geneve: { verify-outer-checksum: rewrites }", "--io", "packet")
    assert a.gateway.ask(wrong)
    a.change("geneve: { verify-outer-checksum: always }")
    assert a.dropped(wrong) == "outer_checksum"
    a.change("geneve: { verify-outer-checksum: never }")
    assert a.gateway.ask(wrong)


def outer_ttl(a):
    a.start("geneve: { outer-ttl: keep }")
    assert a.gateway.ask(request(ttl=1)).ttl == 1
    a.change("geneve: { outer-ttl: decrement }")
    assert a.dropped(request(ttl=1)) == "outer_ttl"
    assert a.gateway.ask(request(ttl=9)).ttl == 8
    a.change("geneve: { outer-ttl: keep }")
    assert a.gateway.ask(request(ttl=9)).ttl == 9


GROW = (
    "policy: { rules: [ { name: grow, match: { protocol: udp }, "
    "action: { replace: [ { find: xx, with: yyyy } ] } } ] }"
)


def mtu(a):
    a.start(f"mtu: 1000\n{GROW}")
    assert a.gateway.ask(request(b"xx" * 50)).inner.count(b"yyyy") == 50
    a.change(f"mtu: 200\n{GROW}")
    assert a.dropped(request(b"xx" * 50)) == "too_big"


def idle(key):
    def check(a):
        packet = request() if key == "other-idle" else outer(geneve(tcp4(b"x", dport=4000)))
        a.start(f"flows: {{ {key}: 3600s }}")
        assert a.gateway.ask(packet)
        time.sleep(1.1)
        assert a.gateway.ask(packet)
        created = a.lab.quiet_metrics().total("sluice_flows_created_total")
        a.change(f"flows: {{ {key}: 1s }}")
        # The flow's next packet gives it the new time; the one after finds it over.
        other = request(port=4001) if key == "other-idle" else outer(geneve(tcp4(b"x", dport=4001)))
        assert a.gateway.ask(other)
        time.sleep(1.2)
        assert a.gateway.ask(other)
        metrics = a.lab.quiet_metrics()
        assert metrics.total("sluice_flows_expired_total") >= 1
        assert metrics.total("sluice_flows_created_total") >= created + 2

    return check


def on_full(a):
    # What it does is the flow table's test; here: that a reload takes it.
    a.start("flows: { on-full: forward }")
    a.change("flows: { on-full: forward }\nmtu: 1000")
    assert a.gateway.ask(request())


def allow_split_flows(a):
    a.start("listen: { steer: cpu }\nflows: { allow-split-flows: true }", "--io", "udp")
    a.config("listen: { steer: cpu }\nflows: { allow-split-flows: false }\n")
    done = reload(a.control)
    assert done.returncode == 78
    assert "steering by CPU splits flows" in done.stderr
    a.change("listen: { steer: cpu }\npolicy: { fragments: drop }")


def policy(a):
    a.start("policy: { default: forward }")
    assert a.gateway.ask(request())
    a.change("policy: { default: drop }")
    assert a.dropped(request()) == "default"


def log_level(a):
    a.start("log: { level: warning }")
    a.change("log: { level: info }")
    a.program.wait_for("reloaded: generation 2")
    a.change("log: { level: error }")
    a.config("policy: [\n")
    assert reload(a.control).returncode == 78
    a.program.wait_for("not reloaded")
    assert "generation 3" not in a.program.text


def log_format(a):
    a.start("log: { format: text }")
    a.change("log: { format: json }")
    a.program.wait_for('"message":"reloaded: generation 2')
    assert json.loads(a.program.text.splitlines()[-1])["level"] == "info"


def rule_lines(a):
    rules = "policy: { rules: [{ name: seen, match: { port: 4000 }, action: [log, drop] }] }"
    a.start(f"log: {{ rule-lines: 0 }}\n{rules}")
    assert a.dropped(request()) == "rule"
    a.program.wait_for("rule seen: 1 more packets matched, of which no line is written")
    assert "rule seen: drop" not in a.program.text
    a.change(f"log: {{ rule-lines: 5 }}\n{rules}")
    assert a.dropped(request()) == "rule"
    a.program.wait_for("rule seen: drop")


def drain(key):
    def check(a):
        keys = {"minimum": "0s", "idle": "0s", "timeout": "60s", key: "50s"}
        if key == "timeout":
            keys = {"minimum": "40s", "idle": "40s", "timeout": "50s"}
        slow = ", ".join(f"{name}: {value}" for name, value in keys.items())
        a.start(f"drain: {{ {slow} }}")
        a.change("drain: { minimum: 0s, idle: 0s, timeout: 1s }")
        began = time.monotonic()
        a.program.send_signal(signal.SIGTERM)
        assert a.program.wait() == 0
        assert time.monotonic() - began < 30

    return check


LIVE = {
    "listen.allow-sources": allow_sources,
    "drain.minimum": drain("minimum"),
    "drain.idle": drain("idle"),
    "drain.timeout": drain("timeout"),
    "geneve.require-aws-options": require_aws_options,
    "geneve.outer-checksum": outer_checksum,
    "geneve.verify-outer-checksum": verify_outer_checksum,
    "geneve.outer-ttl": outer_ttl,
    "mtu": mtu,
    "flows.tcp-idle": idle("tcp-idle"),
    "flows.other-idle": idle("other-idle"),
    "flows.on-full": on_full,
    "flows.allow-split-flows": allow_split_flows,
    "policy": policy,
    "log.level": log_level,
    "log.format": log_format,
    "log.rule-lines": rule_lines,
}


@pytest.mark.parametrize("key", LIVE)
def test_a_live_key_changes_live(fresh, own_gateway, config, control, key):
    LIVE[key](Appliance(fresh, own_gateway, config, control))


# --- on-error by endpoint --------------------------------------------------------------------------


@pytest.mark.parametrize("main", ["drop", "forward"])
def test_a_packet_that_cannot_be_decoded_obeys_its_endpoint(fresh, own_gateway, config, control, main):
    own, other = ("forward", "drop") if main == "drop" else ("drop", "forward")
    text = (
        f"policy: {{ on-error: {main}, "
        f"endpoints: {{ vpce-5: {{ on-error: {own} }}, vpce-6: {{ default: forward }} }} }}"
    )
    a = Appliance(fresh, own_gateway, config, control)
    a.start(text)
    broken = bytearray(udp4(b"broken"))
    broken[2:4] = b"\xff\xff"  # longer than it is
    for endpoint, outcome in ((5, own), (6, "drop"), (7, main)):
        packet = outer(geneve(bytes(broken), options=aws_options(endpoint)))
        if outcome == "forward":
            assert own_gateway.ask(packet).inner == bytes(broken)
        else:
            assert a.dropped(packet) == "inner_malformed"
    assert other == main
    a.change(text.replace(f"vpce-5: {{ on-error: {own} }}", f"vpce-5: {{ on-error: {main} }}"))
    packet = outer(geneve(bytes(broken), options=aws_options(5)))
    if main == "forward":
        assert own_gateway.ask(packet)
    else:
        assert a.dropped(packet) == "inner_malformed"
