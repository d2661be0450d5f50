"""Makes the capture files in this folder, for CaptureFileTests: run it again after a change here.

scapy writes them, editcap and tcpdump rewrite some. Each holds the same IP packets, those of
packets.hex, behind another link header, in another format or byte order.
"""

import struct
import subprocess
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.packet import Raw
from scapy.utils import PcapWriter

HERE = Path(__file__).parent
NODE, APPLIANCE = "10.77.0.1", "10.77.0.2"
IPV4, IPV6 = 0x0800, 0x86DD
MAC = "02:00:00:00:00:02"

PACKETS = [
    IP(src="192.168.1.10", dst="192.168.2.10") / UDP(sport=40000, dport=3000) / Raw(b"hello"),
    IPv6(src="fd00:1::10", dst="fd00:2::10") / TCP(sport=40001, dport=443, flags="S"),
    IP(src="192.168.1.10", dst="192.168.2.10") / ICMP(id=7, seq=3) / Raw(b"ping"),
]
PACKETS = [type(packet)(bytes(packet)) for packet in PACKETS]


def number(packet):
    return IPV6 if packet.version == 6 else IPV4


def ethernet(packet):
    return Ether(src="02:00:00:00:00:01", dst=MAC, type=number(packet)) / packet


def write(name, frames, link, nano=False, endianness="<"):
    """Frames one millisecond and one (micro- or nano-)second step apart."""
    # scapy takes a link type of 0 for none: that is written into the header afterwards.
    writer = PcapWriter(str(HERE / name), linktype=link or 1, nano=nano, endianness=endianness)
    writer.write_header(None)
    for i, frame in enumerate(frames):
        fraction = 1_000_001 * (i + 1) if nano else 1001 * (i + 1)
        writer.write_packet(bytes(frame), sec=1_700_000_000 + i, usec=fraction)
    writer.close()
    if link == 0:
        file = (HERE / name).read_bytes()
        (HERE / name).write_bytes(file[:20] + bytes(4) + file[24:])


def geneve(packet, source=NODE, destination=APPLIANCE, protocol=None):
    options = struct.pack("!HBBQHBBQHBBI", 0x0108, 1, 2, 1, 0x0108, 2, 2, 0, 0x0108, 3, 1, 7)
    head = struct.pack("!BBHI", 8, 0, protocol or number(packet), 0)
    datagram = UDP(sport=25322, dport=6081) / Raw(head + options + bytes(packet))
    return ethernet(IP(bytes(IP(src=source, dst=destination, ttl=255) / datagram)))


def main():
    (HERE / "packets.hex").write_text("".join(bytes(p).hex() + "\n" for p in PACKETS))
    plain = [ethernet(packet) for packet in PACKETS]
    write("ethernet.pcap", plain, 1)
    write("big-endian.pcap", plain, 1, endianness=">")
    write("nanoseconds.pcap", plain, 1, nano=True)
    write("nanoseconds-big-endian.pcap", plain, 1, nano=True, endianness=">")
    tagged = [
        Ether(dst=MAC, type=0x8100) / Dot1Q(vlan=5, type=number(PACKETS[0])) / PACKETS[0],
        Ether(dst=MAC, type=0x88A8) / Dot1AD(vlan=9, type=0x8100) / Dot1Q(vlan=5, type=IPV6) / PACKETS[1],
        Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / ARP(),
        plain[2],
    ]
    write("vlan.pcap", tagged, 1)
    write("raw.pcap", PACKETS, 101)
    write("cooked.pcap", [CookedLinux(proto=number(p)) / p for p in PACKETS], 113)
    write("cooked2.pcap", [CookedLinuxV2(proto=number(p)) / p for p in PACKETS], 276)
    write("null.pcap", [Loopback(type=30 if p.version == 6 else 2) / p for p in PACKETS], 0)
    loop = [struct.pack("!I", 24 if p.version == 6 else 2) + bytes(p) for p in PACKETS]
    write("loop.pcap", loop, 108)

    health = ethernet(IP(src=NODE, dst=APPLIANCE) / TCP(sport=50000, dport=8080))
    round_trip = [health, geneve(PACKETS[0]), geneve(PACKETS[0], APPLIANCE, NODE)]
    round_trip += [geneve(packet) for packet in PACKETS[1:]]
    round_trip += [geneve(PACKETS[0], protocol=0x6558)]
    write("geneve.pcap", round_trip, 1)

    for source, target, *flags in [
        ("ethernet.pcap", "ethernet.pcapng", "-F", "pcapng"),
        ("nanoseconds.pcap", "nanoseconds.pcapng", "-F", "pcapng"),
        ("geneve.pcap", "geneve.pcapng", "-F", "pcapng"),
        ("ethernet.pcap", "snapped.pcap", "-F", "pcap", "-s", "50"),
    ]:
        subprocess.run(["editcap", *flags, HERE / source, HERE / target], check=True)
    subprocess.run(
        ["tcpdump", "-q", "-r", HERE / "big-endian.pcap", "-w", HERE / "tcpdump.pcap"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip


if __name__ == "__main__":
    main()
