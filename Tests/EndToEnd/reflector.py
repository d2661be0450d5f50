"""A stand-in for the appliance that can be told to misbehave, to test the emulator's judgement."""

import http.server
import socket
import struct
import threading

from packets import GENEVE_PORT, checksum, pseudo_header

DEVICE = "eth0"
ETH_P_IP = 0x0800
PACKET_HOST = 0


def swap_addresses(packet):
    """The right answer for a pass-through; both checksums stay valid."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


def repair_udp(packet):
    """The packet with a right outer UDP checksum."""
    head, segment = packet[:20], packet[20:]
    source, destination = socket.inet_ntoa(head[12:16]), socket.inet_ntoa(head[16:20])
    blank = segment[:6] + b"\0\0" + segment[8:]
    total = checksum(pseudo_header(source, destination, 17, len(segment)) + blank) or 0xFFFF
    return head + segment[:6] + struct.pack("!H", total) + segment[8:]


def repair_header(packet):
    blank = packet[:10] + b"\0\0" + packet[12:20]
    return packet[:10] + struct.pack("!H", checksum(blank)) + packet[12:]


class _HealthServer(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    healthy = True


class _HealthHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.server.healthy else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Reflector:
    """Answers for several addresses of the appliance's namespace.

    `answer` makes the list of packets to send from a received one. `seen` has, for each address, the
    outer source ports (one per flow) of what arrived there, in order.
    """

    def __init__(self, lab, addresses=("192.168.20.5",), answer=lambda packet: [swap_addresses(packet)]):
        self.answer = answer
        self.seen = {address: [] for address in addresses}
        self.sink = lab.socket("appliance", ("0.0.0.0", GENEVE_PORT))
        with lab.inside("appliance"):
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
            self.servers = {
                address: _HealthServer((address, 8080), _HealthHandler) for address in addresses
            }
        self.tap.bind((DEVICE, ETH_P_IP))
        self.tap.settimeout(0.1)
        self.stopping = False
        loops = [server.serve_forever for server in self.servers.values()] + [self._reflect]
        self.threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in self.threads:
            thread.start()

    def set_health(self, address, healthy):
        self.servers[address].healthy = healthy

    def ports_at(self, address):
        return set(self.seen[address])

    def forget(self):
        for ports in self.seen.values():
            ports.clear()

    def close(self):
        self.stopping = True
        for server in self.servers.values():
            server.shutdown()
            server.server_close()
        for thread in self.threads:
            thread.join()
        self.tap.close()
        self.sink.close()

    def _reflect(self):
        while not self.stopping:
            try:
                frame, origin = self.tap.recvfrom(65536)
            except TimeoutError:
                continue
            packet = frame[14:]
            address = socket.inet_ntoa(packet[16:20])
            if origin[2] == PACKET_HOST and address in self.seen and self._is_geneve(packet):
                packet = packet[: int.from_bytes(packet[2:4], "big")]
                self.seen[address].append(int.from_bytes(packet[20:22], "big"))
                for reply in self.answer(packet):
                    self.tap.send(frame[6:12] + frame[:6] + frame[12:14] + reply)

    @staticmethod
    def _is_geneve(packet):
        return packet[9] == 17 and int.from_bytes(packet[22:24], "big") == GENEVE_PORT
