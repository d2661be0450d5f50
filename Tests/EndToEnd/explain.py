"""Capture files that scapy writes, and what `sluice check --explain` says of them."""

import json
import struct

from scapy.utils import PcapWriter

from lab import BIN, run

RAW_IP = 101


def write_capture(path, packets, link=RAW_IP, step=0.001, times=None):
    """Packets (bytes) one `step` of seconds apart, or at `times`."""
    writer = PcapWriter(str(path), linktype=link)
    writer.write_header(None)
    for index, packet in enumerate(packets):
        time = 1_700_000_000 + (times[index] if times else index * step)
        writer.write_packet(bytes(packet), sec=int(time), usec=round(time % 1 * 1e6) % 1_000_000)
    writer.close()
    return path


def explain(config, capture, *flags, check=True):
    return run(BIN / "sluice", "check", "--explain", capture, *flags, config, check=check)


def explain_json(config, capture):
    """What is said of each packet, and the summary."""
    lines = [json.loads(line) for line in explain(config, capture, "--json").stdout.splitlines()]
    return lines[:-1], lines[-1]["summary"]


def verdicts(config, capture):
    return [line["verdict"] for line in explain_json(config, capture)[0]]


def ipv6_fragment(payload, offset, more, ident, next_header, source, destination):
    """An IPv6 packet with a fragment header; `offset` in bytes."""
    from packets import ipv6

    header = struct.pack("!BBHI", next_header, 0, offset | more, ident)
    return ipv6(44, header + payload, source, destination)
