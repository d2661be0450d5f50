"""What a real host would deliver is what is inspected: thousands of packets go bare to a Linux host,
and through the appliance to another. Nothing that the second delivers may be what a rule forbids."""

import collections
import functools
import os
import random
import socket
import struct

import pytest

from end_host import ADDRESS4, ADDRESS6, NUMBERS4, EndHost, mac_of
from gateway import FENCES
from generator import DEVICE, GATEWAYS, TARGET, Link
from hostile import ACK, HERE4, HERE6, OPENING, SECRET, SYN, TEXT, Case, asked, header4, whole
from hostile_fragments import fragmented
from lab import BIN, GIVE_UP, Metrics, inside, remove_leftovers
from packets import aws_options, geneve, outer

WHOLE = FRAGMENTS = 20_000
BATCH = 400  # packets under way at once
# A seed for each backend, and both with the one that is usual.
RUNS = [("packet", 1), ("packet", 2), ("udp", 1), ("raw", 2)]
FENCE_PORTS = 60000

TEXTS = f"""{{ name: NAME-text, match: {{ payload: {{ contains: {TEXT.decode()} }} }}, action: drop }}"""
FORBIDDEN = f"""
        - {TEXTS}
        - {{ name: NAME-port, match: {{ port: 3000 }}, action: drop }}
        - {{ name: NAME-protocol, match: {{ protocol: 253 }}, action: drop }}
        - {{ name: NAME-ttl, match: {{ ttl: 7 }}, action: drop }}
        - {{ name: NAME-dscp, match: {{ dscp: ef }}, action: drop }}
        - {{ name: NAME-syn, match: {{ tcp-flags: {{ set: syn, clear: ack }} }}, action: drop }}
        - {{ name: NAME-echo, match: {{ icmp: {{ type: [8, 128] }} }}, action: drop }}
        - name: NAME-secret
          match: {{ protocol: udp }}
          action: [{{ replace: [{{ find: {SECRET.decode()}, with: public }}] }}]
"""
CONFIG = f"""
policy:
  endpoints:
    vpce-1:
      rules: {FORBIDDEN.replace("NAME", "forbid")}
    vpce-2:
      fragments: forward
      rules: {FORBIDDEN.replace("NAME", "fragment")}
    vpce-3:
      default: drop
      rules:
        - {TEXTS.replace("NAME", "allow")}
        - {{ name: allowed, match: {{ protocol: udp, destination-port: 4000-4001 }}, action: forward }}
    vpce-4:
      on-unknown-tcp: drop
    vpce-5:
      default: drop
      rules:
        - {{ name: outwards, match: {{ source: [{ADDRESS4}, "{ADDRESS6}"] }}, action: forward }}
        - {{ name: answers, match: {{ flow: established }}, action: forward }}
"""
ENDPOINTS = (1, 1, 1, 1, 2, 3, 4, 5)
# So many times at least the bare host delivers what a rule forbids.
SHARE = {
    "text": 1000, "port": 500, "protocol": 200, "ttl": 100, "dscp": 100, "syn": 100, "echo": 100, "secret": 150,
    "not-allowed": 300, "unknown-tcp": 50, "not-asked-for": 600,
}  # fmt: skip


def endpoint(number):
    return ENDPOINTS[number % len(ENDPOINTS)]


# --- what the rules say of a delivery ------------------------------------------------------------


def has_text(one, shown):
    """The text lies where a first fragment has shown its bytes to the rules; none sees later ones."""
    if one.protocol not in (6, 17):
        return False
    at = one.data.find(TEXT)
    while at >= 0:
        if one.data_at + at + len(TEXT) <= shown:
            return True
        at = one.data.find(TEXT, at + 1)
    return False


def named(one, case, shown):
    """The rule that forbids what was delivered, or None."""
    policy = endpoint(one.number)
    if policy == 4:
        mid_flow = one.protocol == 6 and one.flags & OPENING != SYN
        return "unknown-tcp" if mid_flow and not case.opens else None
    if policy == 5:
        # A fragment is of no flow, as long as ports decide which worker has it.
        end = (one.sport, one.dport) if one.protocol in (6, 17) else (one.flags,)
        is_answer = (one.protocol, *end) == case.answers and not case.is_fragmented
        return None if is_answer else "not-asked-for"
    if has_text(one, shown):
        return "text"
    if policy == 3:
        return None if one.protocol == 17 and one.dport in (4000, 4001) else "not-allowed"
    if one.protocol in (6, 17) and 3000 in (one.sport, one.dport):
        return "port"
    if one.protocol == 6 and one.flags & (SYN | ACK) == SYN:
        return "syn"
    if (one.protocol, one.flags) in ((1, 8), (58, 128)):
        return "echo"
    if one.protocol == 17 and not case.is_fragmented and SECRET in one.data:
        return "secret"
    return {one.ttl == 7: "ttl", one.tos >> 2 == 46: "dscp", one.protocol == 253: "protocol"}.get(True)


# --- the appliance -------------------------------------------------------------------------------


class Path:
    """From here to the appliance and back; whatever gets lost on the way fails the test."""

    def __init__(self, link):
        self.link = link
        load = link.namespace("load")
        with inside(load):
            self.line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            # Keeps this side's kernel from answering returned packets with ICMP.
            self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.line.bind((DEVICE, 0))
        self.tap.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.tap.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self.tap.bind((DEVICE, 0x0800))
        self.tap.settimeout(GIVE_UP)
        self.sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        self.sink.bind(("0.0.0.0", 6081))
        link.run("load", "ping", "-c", "1", "-W", "5", TARGET)
        self.header = mac_of(link.namespace("box"), DEVICE) + mac_of(load, DEVICE) + b"\x08\x00"
        self.sent = self.returned = 0
        nobody = Case(0, 4)
        self.fences = [
            self._frame(header4(nobody, 17, struct.pack("!HHHH", port, 9, 8, 0)), 4, 0xF, FENCE_PORTS + port)
            for port in range(FENCES)
        ]

    def close(self):
        for sock in (self.line, self.tap, self.sink):
            sock.close()

    def _frame(self, inner, version, endpoint, port):
        wrapped = geneve(inner, aws_options(endpoint), protocol=0x86DD if version == 6 else 0x0800)
        return self.header + outer(wrapped, port, source=GATEWAYS[0], destination=TARGET, sum_field=0)

    def exchange(self, batch):
        """Sends (case, index of its packet) and gives back (version, inner packet) of what is returned."""
        for case, index in batch:
            port = 20000 + case.number % 30000
            self.line.send(self._frame(case.packets[index], case.version, endpoint(case.number), port))
        for fence in self.fences:
            self.line.send(fence)
        self.sent += len(batch) + len(self.fences)
        found, fences = [], 0
        while fences < len(self.fences):
            packet = self.tap.recv(65536)[14:]
            if packet[9] != 17 or packet[22:24] != b"\x17\xc1":
                continue
            self.returned += 1
            if int.from_bytes(packet[20:22], "big") >= FENCE_PORTS:
                fences += 1
                continue
            version = 6 if packet[30:32] == b"\x86\xdd" else 4
            found.append((version, packet[28 + 8 + (packet[28] & 63) * 4 : int.from_bytes(packet[2:4], "big")]))
        return found

    def check_no_loss(self):
        """The appliance has seen every packet, and each that it forwarded was seen here."""
        page = Metrics(self.link.run("load", "curl", "-sf", f"http://{TARGET}:8080/metrics").stdout)
        page.check_identity()
        received, forwarded, _ = (sum(each.values()) for each in page.packet_counters())
        assert (received, forwarded) == (self.sent, self.returned), page.dropped()


# --- a run ---------------------------------------------------------------------------------------


def schedule(dice, cases):
    """(case, index) in an order that mixes the cases: most take a moment, a few a good part of the run.

    Not so long that the appliance, or the host, may have forgotten by then what came first."""
    times = []
    for case in cases:
        start = dice.random() * len(cases)
        step = dice.choice((0.01, 1, 10, 100)) if dice.random() < 0.98 else len(cases) / 32
        times += [(start + index * step, case.number, index, case) for index in range(len(case.packets))]
    return [(case, index) for _, _, index, case in sorted(times, key=lambda each: each[:3])]


@functools.cache
def make_cases(seed):
    dice = random.Random(seed)
    cases = [whole(dice, number) for number in range(1, WHOLE + 1)]
    missing = FRAGMENTS
    while missing > 0:
        cases.append(fragmented(dice, len(cases) + 1))
        missing -= len(cases[-1].packets)
    for case in cases:
        if endpoint(case.number) == 5 and dice.random() < 0.8:
            asked(dice, case)
    return schedule(dice, cases), {case.number: case for case in cases}


def number_of(version, packet):
    if version == 4:
        return int.from_bytes(packet[12:16], "big") - NUMBERS4
    return int.from_bytes(packet[20:24], "big")


def completing(parts, passed):
    """The packet with which a host can have had the whole, the earliest."""
    here = []
    for index in passed:
        here += [parts[index]] if parts[index].reaches else []
        edge = 0
        for part in sorted(here, key=lambda each: each.start):
            edge = max(edge, part.end) if part.start <= edge else edge
        if any(not part.more and part.end <= edge for part in here):
            return index
    return max(passed)


class Judge:
    """Knows of each case what passed, and so what the rules have seen of it."""

    def __init__(self, cases):
        self.cases = cases
        self.passed = collections.defaultdict(list)  # number to indices

    def passes(self, version, packet):
        number = number_of(version, packet)
        packets = self.cases[number].packets
        self.passed[number].append(packets.index(packet) if packet in packets else 0)

    def shown(self, one):
        """Bytes that the rules had seen of what was delivered: the longest first fragment counts."""
        case, passed = self.cases[one.number], self.passed[one.number]
        if endpoint(one.number) == 2:
            # Later fragments are not held against their first.
            return min((case.parts[index].shown for index in passed if case.parts[index].shown), default=0)
        before = case.parts[: completing(case.parts, passed) + 1]
        return max((part.shown for part in before if part.protocol == one.protocol), default=0)

    def rule(self, one):
        return named(one, self.cases[one.number], self.shown(one))


def told(one, rule, judge):
    case = judge.cases[one.number]
    what = "; ".join(case.what)
    lines = [f"{rule}: IPv{case.version} case {case.number}, endpoint {endpoint(case.number)}: {what}"]
    for index, packet in enumerate(case.packets):
        fate = "passed  " if index in judge.passed[one.number] else "dropped "
        lines.append(f"  {'outwards' if case.parts[index].outwards else fate} {packet.hex()}")
    return "\n".join([*lines, f"  delivered {one}"])


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    remove_leftovers()
    link = Link(tmp_path_factory.mktemp("differential"))
    yield link
    link.close()


@pytest.fixture
def hosts(link):
    made = [EndHost(link.namespace("load"), name) for name in ("bare", "behind")]
    yield made
    for one in made:
        one.close()


def start(link, io):
    config = link.directory / "policy.yaml"
    config.write_text(CONFIG)
    program = link.start(
        "box", BIN / "sluice", "run", "--io", io, "--workers", 2, "--health", f"{TARGET}:8080",
        "--drain-minimum", 1, "--config", config, "--control", link.directory / "control.sock",
    )  # fmt: skip
    return program.wait_for("ready")


def exchange(link, hosts, io, order, cases):
    """Sends everything to both hosts; what they delivered, and who can judge it."""
    bare, behind = hosts
    program = start(link, io)
    path = Path(link)
    judges = Judge(cases), Judge(cases)
    deliveries = [], []
    for at in range(0, len(order), BATCH):
        batch = order[at : at + BATCH]
        for case, index in batch:
            if not case.parts[index].outwards:
                bare.deliver(case.version, case.packets[index])
                judges[0].passed[case.number].append(index)
        for version, packet in path.exchange(batch):
            if packet[12:16] != HERE4 and packet[8:24] != HERE6:
                judges[1].passes(version, packet)
                behind.deliver(version, packet)
        for host, found in zip(hosts, deliveries, strict=True):
            found += host.collect()
    path.check_no_loss()
    path.close()
    for host, found in zip(hosts, deliveries, strict=True):
        host.check_no_loss()
        found += host.collect()
    assert program.running, program.text
    link.end_programs()
    return deliveries, judges


def forbidden(deliveries, judge):
    """(delivery, rule) of what must not be, simplest first."""
    bad = [(one, rule) for one in deliveries if (rule := judge.rule(one))]
    cases = judge.cases
    return sorted(bad, key=lambda each: (len(cases[each[0].number].packets), len(cases[each[0].number].what)))


@pytest.mark.parametrize("io, seed", RUNS)
def test_no_host_delivers_what_a_rule_forbids(link, hosts, io, seed):
    seed = int(os.environ.get("SLUICE_DIFFERENTIAL_SEED", seed))
    order, cases = make_cases(seed)
    deliveries, judges = exchange(link, hosts, io, order, cases)
    check_share(cases, deliveries, judges)
    bad = forbidden(deliveries[1], judges[1])
    count = dict(collections.Counter(rule for _, rule in bad))
    assert not bad, f"seed {seed}, {io}: {count}\n" + "\n".join(told(*each, judges[1]) for each in bad[:20])


def check_share(cases, deliveries, judges):
    """Much that the rules forbid is delivered bare, and most of what they do not, behind the appliance too."""
    rules = collections.Counter(judges[0].rule(one) for one in deliveries[0])
    behind = {one.number for one in deliveries[1]}
    good, passed = collections.Counter(), collections.Counter()
    for number in {one.number for one in deliveries[0] if not judges[0].rule(one)}:
        good[endpoint(number)] += 1
        passed[endpoint(number)] += number in behind
    print(f"{len(cases)} cases; delivered bare: {dict(rules)}; good {dict(good)}, behind too {dict(passed)}")
    for rule, least in SHARE.items():
        assert rules[rule] >= least, (rule, rules)
    for policy, count in good.items():
        assert passed[policy] > 0.6 * count > 30, (policy, good, passed)
