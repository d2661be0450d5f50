"""`sluice check --explain`: captures that scapy and tcpdump made, judged as the appliance judges."""

import json
import os
import random
import subprocess

import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.packet import Raw

from explain import explain, explain_json, verdicts, write_capture
from lab import BIN, ROOT
from packets import A4, B4, echo4, geneve, outer, tcp4, udp4, udp6

CAPTURES = ROOT / "Tests" / "Captures"
BLOG = ROOT / "deploy" / "examples" / "blog.yaml"
PLAIN = [
    "ethernet.pcap", "big-endian.pcap", "nanoseconds.pcap", "raw.pcap", "cooked.pcap", "cooked2.pcap",
    "null.pcap", "loop.pcap", "ethernet.pcapng", "nanoseconds.pcapng", "tcpdump.pcap",
]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_every_kind_of_file_is_judged(config, name):
    path = config(
        """
        policy:
          default: drop
          rules:
            - { name: seen, action: count }
            - { name: trial, match: { port: 3000 }, action: drop, dry-run: true }
            - { name: greet, match: { protocol: udp, payload: { contains: hello } }, action: [ { replace: [ { find: hello, with: goodbye } ] }, forward ] }
            - { name: web, match: { protocol: tcp, port: 443 }, action: drop }
        """
    )
    packets, summary = explain_json(path, CAPTURES / name)
    seen, trial = {"rule": "seen"}, {"rule": "trial", "dry_run": "drop"}
    assert [one["verdict"] for one in packets] == ["forward", "drop", "drop"]
    assert [one.get("rule") for one in packets] == ["greet", "web", None]
    assert [one.get("reason") for one in packets] == [None, "rule", "default"]
    assert packets[0]["matched"] == [seen, trial, {"rule": "greet"}]
    assert packets[0]["rewritten"] == {"length": 35, "old": "'hello'", "new": "'goodbye'"}
    assert packets[0]["source"] == "192.168.1.10:40000"
    assert packets[1]["destination"] == "[fd00:2::10]:443"
    assert [one["protocol"] for one in packets] == ["UDP", "TCP", "ICMP"]
    assert "endpoint" not in packets[0]
    assert abs(packets[2]["time"] - 2.002) < 0.001
    assert summary["dropped"] == {"rule": 1, "default": 1}
    assert (summary["judged"], summary["forwarded"], summary["rewritten"]) == (3, 1, 1)
    by_rule = {one["rule"]: one for one in summary["rules"]}
    assert by_rule["seen"]["matched"] == 3 and by_rule["seen"]["dropped"] == 2


@pytest.mark.parametrize("name", ["geneve.pcap", "geneve.pcapng"])
def test_geneve_is_judged_by_its_endpoint(config, name):
    path = config("policy: { default: drop, endpoints: { vpce-1: { default: forward } } }")
    packets, summary = explain_json(path, CAPTURES / name)
    assert [one["verdict"] for one in packets] == ["none", "forward", "none", "forward", "forward", "drop"]
    assert packets[1]["endpoint"] == "vpce-00000000000000001"
    assert packets[2]["reason"] == "on its way back from the appliance"
    assert packets[5]["reason"] == "geneve_protocol"
    assert summary["judged"] == 4


def test_for_people(config):
    path = config("policy: { rules: [ { name: ping, match: { protocol: icmp }, action: [log, drop] } ] }")
    lines = explain(path, CAPTURES / "raw.pcap").stdout.splitlines()
    assert lines == [
        "    1  0.000000  UDP 192.168.1.10:40000 -> 192.168.2.10:3000, 33 bytes: forward by default",
        "    2  1.001001  TCP [fd00:1::10]:40001 -> [fd00:2::10]:443 [SYN], 60 bytes: forward by default",
        "    3  2.002002  ICMP 192.168.1.10 -> 192.168.2.10 [type 8 code 0], 32 bytes: drop by rule ping",
        "",
        "3 packets judged: 2 forwarded (0 rewritten), 1 dropped (1 rule)",
        "rule ping: matched 1: 0 forwarded, 1 dropped",
    ]


def test_what_was_cut_by_the_snap_length_is_not_judged(config):
    packets, summary = explain_json(config("policy: { default: drop }"), CAPTURES / "snapped.pcap")
    assert [one["verdict"] for one in packets] == ["drop", "none", "drop"]
    assert packets[1]["reason"].startswith("captured in part only")
    assert packets[1]["length"] == 74
    assert summary["judged"] == 2


# --- files that are not in order -----------------------------------------------------------------


def refused(config, capture):
    done = explain(config, capture, check=False)
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1
    return done


@pytest.mark.parametrize("name", ["ethernet.pcap", "ethernet.pcapng"])
def test_a_capture_that_ends_within_a_packet(tmp_path, name):
    whole = (CAPTURES / name).read_bytes()
    at = whole.rfind(b"ping")
    cut = tmp_path / name
    cut.write_bytes(whole[:at])
    done = refused(BLOG, cut)
    assert done.stdout.count("forward by default") == 2
    assert done.stderr == (
        f"sluice: --explain: {cut}: ends within record 3: what stands before it was judged\n"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "0 bytes, too short for a capture file"),
        (b"not a capture", "neither pcap nor pcapng (starts with 6e6f7420)"),
        (b"\x1f\x8b\x08\x00\x00", "compressed by gzip: decompress it first (gunzip)"),
    ],
)
def test_what_is_no_capture(tmp_path, text, complaint):
    path = tmp_path / "file"
    path.write_bytes(text)
    done = refused(BLOG, path)
    assert done.stderr == f"sluice: --explain: {path}: {complaint}\n"
    assert done.stdout == ""


def test_a_fifo_and_nothing_at_all(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert "a FIFO, not a regular file" in refused(BLOG, tmp_path / "fifo").stderr
    assert "No such file or directory" in refused(BLOG, tmp_path / "none").stderr


def test_a_capture_without_packets_is_no_fault(tmp_path):
    capture = write_capture(tmp_path / "empty.pcap", [])
    assert explain(BLOG, capture).stdout.splitlines()[1].startswith("0 packets judged")


def test_a_wrong_config_comes_first(config):
    done = explain(config("policy: { defalt: drop }"), CAPTURES / "raw.pcap", check=False)
    assert done.returncode == 78
    assert done.stdout == ""
    assert "did you mean default?" in done.stderr


def check(*arguments, **more):
    return subprocess.run([BIN / "sluice", "check", *arguments], capture_output=True, text=True, **more)


def test_json_of_mistakes(config):
    wrong = config("policy: { defalt: drop }")
    done = check("--json", BLOG, wrong)
    right, mistaken = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (78, "")
    assert right["valid"] and right["rules"] == 3
    mistake = mistaken["mistakes"][0]
    assert (mistake["file"], mistake["line"]) == (str(wrong), 1)
    assert "did you mean default?" in mistake["text"]


def test_standard_input_several_files_and_quiet():
    done = check("-", input="policy: { defalt: drop }\n")
    assert done.returncode == 78 and done.stderr.startswith("<stdin>:1: policy: ")
    assert check("-", BLOG, input="policy: {}\n").stdout.count(": valid") == 2
    assert (check("--quiet", BLOG, BLOG).returncode, check("--quiet", BLOG).stdout) == (0, "")
    assert check("--quiet", "--explain", CAPTURES / "raw.pcap", BLOG).returncode == 64


def test_a_later_fragment_is_told_as_following_its_first(tmp_path, config):
    whole = IP(src=B4, dst=A4, id=7) / UDP(sport=1, dport=9) / Raw(b"x" * 64)
    pieces = fragment(whole, fragsize=40)
    path = config("policy: { rules: [ { name: in, match: { port: 9 }, action: forward } ] }")
    lines = explain(path, write_capture(tmp_path / "pieces.pcap", pieces)).stdout.splitlines()
    assert lines[0].endswith("forward by rule in") and lines[1].endswith("forward, as its first")
    path = config("policy: { rules: [ { name: in, match: { port: 9 }, action: drop } ] }")
    lines = explain(path, tmp_path / "pieces.pcap").stdout.splitlines()
    assert lines[1].endswith("drop: fragment, as its first")


def test_merged_packets_are_judged_and_told(tmp_path, config):
    merged = IP(src=B4, dst=A4) / TCP(sport=1, dport=9) / Raw(b"x" * 20000)
    capture = write_capture(tmp_path / "merged.pcap", [merged, IP(src=B4, dst=A4) / UDP(dport=9)])
    packets, summary = explain_json(config("policy: {}"), capture)
    assert [one["verdict"] for one in packets] == ["forward", "forward"]
    assert (packets[0]["tcp_flags"], summary["longer_than_mtu"]) == (["syn"], 1)


# --- the same engine, with state and the capture's clock -----------------------------------------


def test_flow_state_runs_along(tmp_path, config):
    path = config(
        """
        policy:
          default: drop
          rules:
            - { name: out, match: { source: 192.168.2.10 }, action: forward }
            - { name: answers, match: { flow: established }, action: forward }
        flows: { other-idle: 10s }
        """
    )
    out = IP(src=B4, dst=A4) / UDP(sport=41000, dport=53) / Raw(b"out")
    back = IP(src=A4, dst=B4) / UDP(sport=53, dport=41000) / Raw(b"back")
    capture = write_capture(
        tmp_path / "flow.pcap", [back, out, back, back, back], times=[0, 1, 2, 11, 22]
    )
    packets, _ = explain_json(path, capture)
    assert [one["verdict"] for one in packets] == ["drop", "forward", "forward", "forward", "drop"]
    assert [one.get("rule") for one in packets] == [None, "out", "answers", "answers", None]


def test_malformed_packets_obey_on_error(tmp_path, config):
    broken = bytes(IP(src=B4, dst=A4) / UDP(dport=1))
    broken = broken[:2] + b"\xff\xff" + broken[4:]
    capture = write_capture(tmp_path / "broken.pcap", [broken])
    packets, _ = explain_json(config("policy: { on-error: drop }"), capture)
    assert (packets[0]["verdict"], packets[0]["reason"]) == ("drop", "inner_malformed")
    assert verdicts(config("policy: { on-error: forward }"), capture) == ["forward"]


def test_a_rewrite_that_does_not_fit(tmp_path, config):
    path = config(
        "mtu: 100\npolicy: { rules: [ { name: grow, match: { protocol: udp }, "
        "action: { replace: [ { find: x, with: yyyyyyyyyy } ] } } ] }"
    )
    packets = [IP(src=B4, dst=A4) / UDP(dport=9) / Raw(b"x" * count) for count in (1, 7, 8)]
    told, _ = explain_json(path, write_capture(tmp_path / "grow.pcap", packets))
    assert [one.get("reason") for one in told] == [None, None, "too_big"]
    assert told[2]["rule"] == "grow"
    assert told[0]["rewritten"] == {"length": 38, "old": "'x'", "new": "'yyyyyyyyyy'"}


def test_a_live_appliance_says_the_same(fresh, own_gateway, tmp_path, config):
    """Random packets through the file and through the wire."""
    path = config(
        """
        policy:
          rules:
            - { name: a, match: { protocol: udp, port: 1000-1010, payload: { contains: bad } }, action: drop }
            - { name: b, match: { tcp-flags: { set: [syn] }, destination-port: 81 }, action: drop }
            - { name: c, match: { icmp: { sequence: { every: 3 } } }, action: drop }
            - { name: d, match: { protocol: udp, length: 60-80 }, action: [ { replace: [ { find: ab, with: xyz } ] } ] }
            - { name: e, match: { version: 6, port: 1005 }, action: drop }
        """
    )
    dice = random.Random(4)
    inner = []
    for number in range(120):
        text = dice.choice([b"bad ab", b"good ab ab", b"xxxx"]) * dice.randint(1, 6)
        port = dice.choice([1000, 1005, 1010, 1011, 81])
        kind = dice.randrange(4)
        if kind == 0:
            inner.append(udp4(text, sport=2000 + number, dport=port))
        elif kind == 1:
            inner.append(tcp4(text, sport=2000 + number, dport=port, flags=dice.choice([2, 16, 18])))
        elif kind == 2:
            inner.append(echo4(number + 1, data=text))
        else:
            inner.append(udp6(text, sport=2000 + number, dport=port))
    told, _ = explain_json(path, write_capture(tmp_path / "random.pcap", inner))
    fresh.start_appliance("--config", path, "--control", tmp_path / "control.sock", "--workers", 2)
    ports = range(30001, 30001 + len(inner))
    answers = own_gateway.exchange(*[outer(geneve(one), sport=port) for one, port in zip(inner, ports)])
    lengths = {answer.sport: len(answer.inner) for answer in answers}
    for line, port, packet in zip(told, ports, inner):
        assert (line["verdict"] == "forward") == (port in lengths), line
        if port in lengths:
            assert lengths[port] == line.get("rewritten", {}).get("length", len(packet)), line
    assert 20 < len(lengths) < 110
    assert any("rewritten" in line for line in told)
