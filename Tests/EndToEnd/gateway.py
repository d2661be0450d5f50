"""A gateway that sends what it is told and sees everything that comes back, frame by frame."""

import json
import socket
import time

from lab import GIVE_UP, run
from packets import APPLIANCE, GATEWAY, Outer, geneve, next_port, outer, udp4

PORT = "to-appliance"
ETH_P_ALL = 3
PACKET_OUTGOING = 4
FENCES = 32  # packets that close an exchange: enough to reach each of a few workers
SETTLE = 0.1  # seconds after the fence came back in which a second answer would show up


def _mac(lab, host, device):
    links = json.loads(run("ip", "-n", lab.namespace(host), "-j", "link", "show", device).stdout)
    return bytes.fromhex(links[0]["address"].replace(":", ""))


class Gateway:
    """Plays GWLB with hand-made packets from the gwlb namespace."""

    def __init__(self, lab):
        self.lab = lab
        with lab.inside("gwlb"):
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.tap.bind((PORT, ETH_P_ALL))
        self.tap.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        # Keeps this side's kernel from answering returned packets with ICMP.
        self.sink = lab.socket("gwlb", ("0.0.0.0", 6081))
        self.sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        self.here = _mac(lab, "gwlb", PORT)
        self.there = _mac(lab, "appliance", "eth0")
        self.icmp = []  # every ICMP packet that the appliance's host sent
        self.strays = []  # packets from there that are neither Geneve nor the health port's
        # The appliance's host learns our address now, not from the first packet's answer.
        lab.run("appliance", "ping", "-c", "1", "-W", "5", GATEWAY)
        self.collect(until=time.monotonic() + SETTLE)
        self.icmp.clear()

    def close(self):
        self.tap.close()
        self.sink.close()

    def send(self, *packets, mac=None):
        for packet in packets:
            self.tap.send((mac or self.there) + self.here + b"\x08\x00" + packet)

    def collect(self, until, enough=lambda found: False):
        """The Geneve datagrams that arrive before `until`, or until there are `enough`."""
        found = []
        while not enough(found):
            self.tap.settimeout(max(until - time.monotonic(), 0.001))
            try:
                frame, source = self.tap.recvfrom(65536)
            except TimeoutError:
                if time.monotonic() >= until:
                    break
                continue
            if source[2] != PACKET_OUTGOING:
                found += self._sort(frame)
        return found

    def _sort(self, frame):
        """Files a frame; gives back the datagram if it is one of UDP 6081."""
        if frame[12:14] != b"\x08\x00":
            return []
        packet = frame[14:]
        protocol = packet[9]
        if protocol == 1:
            self.icmp.append(packet)
        elif protocol == 17 and int.from_bytes(packet[6:8], "big") & 0x1FFF == 0:
            datagram = Outer.parse(packet)
            if datagram.dport == 6081:
                return [datagram]
            self.strays.append(packet)
        elif protocol != 6:
            self.strays.append(packet)
        return []

    def _fence(self):
        """Good packets of different flows, whose return shows that what came before is done."""
        fences = {}
        for index in range(FENCES):
            port = next_port()
            fences[port] = outer(geneve(udp4(b"fence", sport=10000 + index, dport=9)), sport=port)
        return fences

    def exchange(self, *packets, answers=None, mac=None):
        """Sends the packets and gives back all that is returned for them, in order of arrival.

        With `answers`, first waits for that number of answers. Then lets good packets of many flows through and
        waits for those, so that an answer that should not exist has had its time.
        """
        self.send(*packets, mac=mac)
        found = []
        deadline = time.monotonic() + GIVE_UP
        if answers:
            found += self.collect(deadline, lambda got: len(got) >= answers)
        fences = self._fence()
        self.send(*fences.values())
        missing = set(fences)

        def all_back(got):
            missing.difference_update(datagram.sport for datagram in got[-1:])
            return not missing

        found += self.collect(deadline, all_back)
        assert not missing, f"{len(missing)} of {FENCES} good packets did not come back"
        found += self.collect(time.monotonic() + SETTLE)
        fenced = [datagram.sport for datagram in found if datagram.sport in fences]
        assert len(fenced) == len(fences), "a good packet was answered twice"
        return [datagram for datagram in found if datagram.sport not in fences]

    def ask(self, *packets):
        """Sends one packet, maybe in fragments, that must be answered once; the answer."""
        found = self.exchange(*packets, answers=1)
        assert len(found) == 1, f"{len(found)} answers to one packet"
        return found[0]

    def refused(self, *packets, mac=None):
        """Sends packets that must not be answered."""
        found = self.exchange(*packets, mac=mac)
        assert not found, f"{len(found)} answers to packets that must be dropped"

    def pass_inner(self, inner, **header):
        """Sends an inner packet in a good header; the inner packet that is returned."""
        return self.ask(outer(geneve(inner, **header))).inner

    def answers(self, destination=APPLIANCE):
        """Whether a good packet comes back within a moment; for an appliance that may be gone."""
        port = next_port()
        self.send(outer(geneve(udp4(b"still there?")), sport=port, destination=destination))
        found = self.collect(
            time.monotonic() + 2, lambda got: any(one.sport == port for one in got)
        )
        return any(one.sport == port for one in found)

    def check_silence(self):
        """No ICMP of any kind, and nothing else that nobody asked for."""
        assert not self.icmp, f"ICMP from the appliance: {self.icmp[0].hex()}"
        assert not self.strays, f"from the appliance, unasked: {self.strays[0].hex()}"
