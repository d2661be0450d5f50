"""Real programs talk through the lab: nc, ping, iperf3, curl, and nothing is lost."""

import hashlib
import json
import os
import re
import threading
import time

import pytest

from conftest import Emulator, combinations
from lab import GIVE_UP, wait_until
from packets import A4, A6, B4

pytestmark = pytest.mark.parametrize(
    "combination", combinations([1, 2, 4]), indirect=True, scope="module"
)

STEADY_RATE = 2000  # packets per second
STEADY_SECONDS = 30
FLOWS = 64
FIRST_PORT = 20000  # chosen, since the kernel may give the same port twice


@pytest.fixture(scope="module", autouse=True)
def story(lab, appliance, tmp_path_factory):
    """An emulator beside the appliance; in the end it must have found nothing wrong."""
    emulator = Emulator(lab, tmp_path_factory.mktemp("story") / "gwlb.json", "--expect", "blog")
    yield emulator
    emulator.finish_clean()
    lab.quiet_metrics()


def start_listener(lab, host, port, kind, *command):
    """A server in `host` that listens on the TCP ("t") or UDP ("u") port."""
    program = lab.start(host, *command)
    query = ("ss", "-Hln", f"-{kind}", f"sport = :{port}")
    wait_until(lambda: lab.run(host, *query).stdout.strip(), f"{command[0]} listens on {port}")
    return program


def test_chat(fresh):
    listener = start_listener(fresh, "a", 3000, "u", "nc", "-l", "-u", "3000")
    lines = ("hello", "drop me", "weakly typed programming language")
    messages = "".join(f"sleep 0.3; echo {line}; " for line in lines)
    client = fresh.start("b", "sh", "-c", f"({messages} sleep 2) | nc -u -q 1 -w 3 {A4} 3000")
    wait_until(lambda: "language" in listener.stdout.read_text(), "the last message arrives")
    client.wait()
    assert listener.stdout.read_text() == "hello\nstrongly typed programming language\n"


def pings(lab, target, *options):
    done = lab.run("b", "ping", "-n", "-c", 20, "-i", "0.1", "-W", 5, *options, target, check=False)
    return [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", done.stdout)]


def test_every_fifth_ping_is_lost(lab):
    assert pings(lab, A4) == [number for number in range(1, 21) if number % 5]


def test_no_ping6_is_lost(lab):
    assert pings(lab, A6) == list(range(1, 21))


@pytest.mark.parametrize("reverse", [False, True], ids=["to-a", "from-a"])
def test_iperf3(fresh, reverse):
    start_listener(fresh, "a", 5201, "t", "iperf3", "-s", "-1")
    done = fresh.run("b", "iperf3", "-c", A4, "-t", 3, "-J", *(["-R"] if reverse else []))
    result = json.loads(done.stdout)["end"]
    assert result["sum_received"]["bytes"] > 1 << 20


def test_a_file_arrives_whole(fresh, tmp_path):
    content = os.urandom(20 << 20)
    (tmp_path / "file").write_bytes(content)
    server = ("/usr/bin/python3", "-m", "http.server", "8000", "-d", tmp_path)
    start_listener(fresh, "b", 8000, "t", *server)
    fresh.run("a", "curl", "-sf", "--max-time", GIVE_UP, "-o", tmp_path / "copy", f"http://{B4}:8000/file")
    copy = (tmp_path / "copy").read_bytes()
    assert hashlib.sha256(copy).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("size", [512, 1232])
def test_datagrams_of_dns_size(lab, size):
    with lab.socket("a", (A4, 53)) as server, lab.socket("b", (B4, 0)) as client:
        for _ in range(20):
            question, answer = os.urandom(size), os.urandom(size)
            client.sendto(question, (A4, 53))
            received, peer = server.recvfrom(9000)
            assert received == question
            server.sendto(answer, peer)
            assert client.recv(9000) == answer


def flow_counts(lab):
    return lab.quiet_metrics().by("sluice_flows_created_total", "worker")


def test_a_flow_stays_on_one_worker(lab, workers):
    """Both directions share one flow entry, so exactly as many are made as flows are opened."""
    before = flow_counts(lab)
    with lab.socket("a", (A4, 7000)) as server:
        for port in range(FIRST_PORT, FIRST_PORT + FLOWS):
            with lab.socket("b", (B4, port)) as client:
                for _ in range(3):
                    client.sendto(b"there", (A4, 7000))
                    data, peer = server.recvfrom(100)
                    server.sendto(b"and back", peer)
                    assert client.recv(100) == b"and back"
    made = {worker: count - before.get(worker, 0) for worker, count in flow_counts(lab).items()}
    assert sum(made.values()) == FLOWS, made
    assert len(made) == workers, made
    if workers > 1:
        assert sum(count > 0 for count in made.values()) > 1, made


class Receiver(threading.Thread):
    """Counts the sequence numbers that arrive."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock
        self.sock.settimeout(0.2)
        self.seen = set()
        self.count = 0
        self.stopping = False

    def run(self):
        while not self.stopping:
            try:
                data = self.sock.recv(2000)
            except TimeoutError:
                continue
            self.count += 1
            self.seen.add(int.from_bytes(data[:8], "big"))


def send_steadily(clients, target, count):
    """`count` numbered datagrams at STEADY_RATE over several flows."""
    began = time.monotonic()
    for number in range(count):
        if number % 4 == 0:
            ahead = began + number / STEADY_RATE - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        clients[number % len(clients)].sendto(number.to_bytes(8, "big") + b"." * 192, target)


def test_nothing_is_lost_at_a_steady_rate(lab, workers):
    """30 s for two workers, 3 s for the other numbers."""
    count = STEADY_RATE * (STEADY_SECONDS if workers == 2 else 3)
    before = lab.quiet_metrics()
    clients = [lab.socket("b", (B4, 0)) for _ in range(16)]
    with lab.socket("a", (A4, 7100)) as server:
        receiver = Receiver(server)
        receiver.start()
        send_steadily(clients, (A4, 7100), count)
        deadline = time.monotonic() + GIVE_UP
        while receiver.count < count and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        receiver.stopping = True
        receiver.join()
    for client in clients:
        client.close()
    assert len(receiver.seen) == count, f"{count - len(receiver.seen)} lost"
    assert receiver.count == count, "some came twice"
    after = lab.quiet_metrics()
    forwarded = "sluice_packets_forwarded_total"
    assert after.total(forwarded) - before.total(forwarded) == count
    assert after.dropped() == before.dropped()
    assert after.total("sluice_kernel_drops_total") == before.total("sluice_kernel_drops_total")
