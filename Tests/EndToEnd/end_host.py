"""A real Linux host at the end of a link: it is sent packets, and says what its sockets were given."""

import json
import select
import socket
import struct
from dataclasses import dataclass

from lab import inside, run, wait_until

ADDRESS4, ADDRESS6 = "192.168.40.2", "fd40::2"
OTHER6 = "fd40::3"  # a second address of the host, for segment routing
ROUTER4, ROUTER6 = "192.168.40.1", "fd40::1"
NUMBERS4 = 0x0A000000  # a packet's source is 10.0.0.0 plus its number, or fd00:: plus its number
PORTS = (3000, 4000, 4001, 5000)
RAW = {4: (1, 6, 253), 6: (6, 58, 253)}
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
SO_RCVBUFFORCE = 33
IP_RECVTTL = 12
UDP_NO_CHECK6_RX = 102
SYSCTLS = (
    # Room for every fragment of a run, so that none is lost but by the rules of reassembly.
    "net.ipv4.ipfrag_high_thresh=268435456",
    "net.ipv6.ip6frag_high_thresh=268435456",
    "net.ipv4.ipfrag_max_dist=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.disable_ipv6=0",
    "net.ipv6.conf.all.seg6_enabled=1",
    "net.ipv6.conf.default.seg6_enabled=1",
)


@dataclass(frozen=True)
class Delivered:
    """What a socket was given: its packet's number, and what the host made of the rest."""

    number: int
    version: int
    protocol: int
    ttl: int
    tos: int
    sport: int
    dport: int
    data_at: int  # where the data begins, bytes from the start of the transport header
    data: bytes
    flags: int = 0  # of TCP; of ICMP the type


def mac_of(namespace, device):
    links = json.loads(run("ip", "-n", namespace, "-j", "link", "show", device).stdout)
    return bytes.fromhex(links[0]["address"].replace(":", ""))


class EndHost:
    """A namespace of its own, linked to `sender`; whatever it answers goes nowhere."""

    def __init__(self, sender, name):
        self.name, self.sender, self.device = f"{sender}-{name}", sender, name
        self.close()
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", name, "netns", sender, "mtu", 9001, "type", "veth",
            "peer", "name", "eth0", "netns", self.name, "mtu", 9001)  # fmt: skip
        self._configure()
        with inside(sender):
            self.line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.line.bind((name, 0))
        self.header = mac_of(self.name, "eth0") + mac_of(sender, name)
        self.sockets = {}
        with inside(self.name):
            for version in (4, 6):
                for port in PORTS:
                    self._open(version, 17, port)
                for protocol in RAW[version]:
                    self._open(version, protocol)
        self.poll = select.poll()
        for sock in self.sockets:
            self.poll.register(sock, select.POLLIN)
        self.by_descriptor = {sock.fileno(): sock for sock in self.sockets}
        self.sent = {4: 0, 6: 0}
        self.before = self._counters()

    def _run(self, *command, **options):
        return run("ip", "netns", "exec", self.name, *command, **options)

    def _configure(self):
        self._run("sysctl", "-qw", *SYSCTLS)
        for namespace, device in ((self.sender, self.device), (self.name, "eth0")):
            run("ip", "netns", "exec", namespace, "ethtool", "-K", device, "tx", "off", "rx", "off",
                "tso", "off", "gso", "off", "gro", "off", check=False)  # fmt: skip
            run("ip", "-n", namespace, "link", "set", device, "up")
        self._run("ip", "link", "set", "lo", "up")
        self._run("ip", "addr", "add", f"{ADDRESS4}/24", "dev", "eth0")
        for address in (ADDRESS6, OTHER6):
            self._run("ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
        mac = mac_of(self.sender, self.device).hex(":")
        for router in (ROUTER4, ROUTER6):
            self._run("ip", "neigh", "add", router, "lladdr", mac, "dev", "eth0", "nud", "permanent")
            self._run("ip", "route", "add", "default", "via", router)
        self._run("sysctl", "-qw", "net.ipv6.conf.eth0.seg6_enabled=1")

    def _open(self, version, protocol, port=None):
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        kind = socket.SOCK_DGRAM if protocol == 17 else socket.SOCK_RAW
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            if protocol == 17:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # RFC 6936: an application may ask for datagrams without a checksum.
                sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
        if port:
            sock.bind(("0.0.0.0" if version == 4 else "::", port))
        self.sockets[sock] = (version, protocol, port)

    def close(self):
        if hasattr(self, "line"):
            for sock in (self.line, *self.sockets):
                sock.close()
        # A namespace goes when the kernel has time, its links with it; the name is wanted now.
        run("ip", "-n", self.sender, "link", "del", self.device, check=False)
        run("ip", "netns", "del", self.name, check=False)

    def deliver(self, version, packet):
        """Sends a packet, unless its TTL is used up on the way: then a router keeps it (RFC 1812 §5.3.1)."""
        at = 8 if version == 4 else 7
        if len(packet) > at and packet[at] > 1:
            self.line.send(self.header + ETHERTYPES[version] + packet)
            self.sent[version] += 1

    def collect(self):
        """What the sockets were given since the last time."""
        found = []
        while ready := self.poll.poll(0):
            for descriptor, _ in ready:
                self._drain(self.by_descriptor[descriptor], found)
        return found

    def _drain(self, sock, found):
        version, protocol, port = self.sockets[sock]
        while True:
            try:
                data, notes, _, source = sock.recvmsg(65536, 256)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier packet
            ttl = tos = 0
            for level, kind, value in notes:
                if (level, kind) in ((0, socket.IP_TTL), (41, socket.IPV6_HOPLIMIT)):
                    ttl = struct.unpack("i", value)[0]
                elif (level, kind) in ((0, socket.IP_TOS), (41, socket.IPV6_TCLASS)):
                    tos = value[0]
            if protocol != 17 and version == 4:
                ttl, tos = data[8], data[1]
                data = data[(data[0] & 15) * 4 :]
            address = socket.inet_pton(sock.family, source[0].split("%")[0])
            number = int.from_bytes(address[-4:], "big") - (NUMBERS4 if version == 4 else 0)
            if protocol != 6 or 20 <= (data[12:13] or b"\0")[0] // 16 * 4 <= len(data):  # else TCP refuses it
                found.append(_taken_apart(number, version, protocol, ttl, tos, source[1], port, data))

    def _counters(self):
        names = {}
        lines = self._run("cat", "/proc/net/snmp").stdout.splitlines()
        for keys, values in zip(lines[::2], lines[1::2], strict=True):
            kind, keys = keys.split(":")
            pairs = zip(keys.split(), values.split()[1:], strict=True)
            names |= {kind + key: int(value) for key, value in pairs}
        for line in self._run("cat", "/proc/net/snmp6").stdout.splitlines():
            key, value = line.split()
            names[key] = int(value)
        return names

    def check_no_loss(self):
        """The host has seen every packet sent to it, and no socket was full."""

        def since():
            return {name: value - self.before.get(name, 0) for name, value in self._counters().items()}

        def seen():
            return {4: since()["IpInReceives"], 6: since()["Ip6InReceives"]} == self.sent

        wait_until(seen, f"{self.sent} packets seen by {self.name}: {since()}", 10)
        now = since()
        for name in ("UdpRcvbufErrors", "UdpMemErrors", "Udp6RcvbufErrors", "Udp6MemErrors"):
            assert now.get(name, 0) == 0, (name, now[name])


def _taken_apart(number, version, protocol, ttl, tos, sport, port, data):
    if protocol == 17:
        return Delivered(number, version, 17, ttl, tos, sport, port, 8, data)
    if protocol == 6:
        sport, dport = struct.unpack("!HH", data[:4])
        at = (data[12] >> 4) * 4
        return Delivered(number, version, 6, ttl, tos, sport, dport, at, data[at:], data[13])
    flags = data[0] if protocol in (1, 58) and data else 0
    return Delivered(number, version, protocol, ttl, tos, 0, 0, 0, data, flags)
