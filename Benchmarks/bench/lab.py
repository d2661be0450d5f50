"""The network of the measurements: a gateway namespace, and for each contender a namespace and a
veth pair of its own, so that all can be up at once and be measured in turn.

    gateway                          contender i
      gw<i>  10.77.<i>.1  ── veth ──  ap0  10.77.<i>.2      MTU 9001, no offloads, static ARP

What comes back to the gateway is counted by its interface and dropped at its ingress. Names carry
our process id; what a crashed run left behind, the next one removes.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREFIX = "slb-"
STATE = Path("/run/sluice-bench")
GIVE_UP = 60  # seconds
SEND_CPU, SERVE_CPU = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
# Packets that wait for RPS: the default of 1000 would be the limit, not the appliance.
SYSCTLS = {"net.core.netdev_max_backlog": "8192"}
OFFLOADS = "tx off rx off tso off gso off gro off".split()


class Failure(Exception):
    """Ends the run with one line."""


class NotStarted(Failure):
    """A contender refuses to run."""


def run(*command, check=True):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if check and done.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise Failure(f"'{words}' gave {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def is_alive(pid):
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def remove_leftovers():
    """Namespaces and settings of runs whose process is gone."""
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        if not is_alive(path.name[len(PREFIX) :].split("-")[0]):
            remove_namespace(path.name)
    for path in STATE.glob("*.json"):
        if not is_alive(path.stem):
            restore_sysctls(path)


def remove_namespace(name):
    for pid in run("ip", "netns", "pids", name, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", name, check=False)


def restore_sysctls(path):
    for key, value in json.loads(path.read_text()).items():
        run("sysctl", "-qw", f"{key}={value}", check=False)
    path.unlink()


def put_first(pid):
    """Weight against other work on a busy machine; where the kernel knows no autogroups, nothing."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-20")


def wait_for_turn():
    """One lab at a time: two would measure each other. The lock goes with the process."""
    STATE.mkdir(parents=True, exist_ok=True)
    lock = open(STATE / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("bench: waiting for another run to end", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


class Lab:
    def __init__(self):
        self.lock = wait_for_turn()
        remove_leftovers()
        self.name = f"{PREFIX}{os.getpid()}"
        self.gateway = f"{self.name}-gw"
        self.links = []
        self.logs = tempfile.TemporaryDirectory(prefix="sluice-bench-")
        self.saved = STATE / f"{os.getpid()}.json"

    def __enter__(self):
        try:
            before = {key: run("sysctl", "-n", key).strip() for key in SYSCTLS}
            self.saved.write_text(json.dumps(before))
            for key, value in SYSCTLS.items():
                run("sysctl", "-qw", f"{key}={value}")
            self._add_namespace(self.gateway)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for link in self.links:
            link.stop()
            remove_namespace(link.namespace)
        remove_namespace(self.gateway)
        if self.saved.exists():
            restore_sysctls(self.saved)
        self.logs.cleanup()
        self.lock.close()

    def _add_namespace(self, name):
        run("ip", "netns", "add", name)
        quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
        quiet += ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
        run("ip", "netns", "exec", name, "sysctl", "-qw", *quiet)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def add_link(self, name, cut=False, answers_arp=False):
        """A namespace for a contender; `cut`: drop all packets behind the AF_PACKET tap, but for
        ARP when it is to be answered."""
        number = len(self.links) + 1
        link = Link(self, name, number)
        self.links.append(link)
        self._add_namespace(link.namespace)
        run("ip", "link", "add", link.port, "netns", self.gateway, "mtu", 9001,
            "address", link.port_mac, "numrxqueues", 2, "numtxqueues", 2, "txqueuelen", 0,
            "type", "veth", "peer", "name", "ap0", "netns", link.namespace, "mtu", 9001,
            "address", link.mac, "numrxqueues", 2, "numtxqueues", 2, "txqueuelen", 0)  # fmt: skip
        for space, device, own, peer, peer_mac in (
            (self.gateway, link.port, link.source, link.target, link.mac),
            (link.namespace, "ap0", link.target, link.source, link.port_mac),
        ):
            run("ip", "netns", "exec", space, "ethtool", "-K", device, *OFFLOADS, check=False)
            run("ip", "-n", space, "addr", "add", f"{own}/24", "dev", device)
            run("ip", "-n", space, "link", "set", device, "up")
            run("ip", "-n", space, "neigh", "replace", peer, "lladdr", peer_mac,
                "nud", "permanent", "dev", device)  # fmt: skip
        first = "meta protocol arp accept;" if answers_arp else ""
        cut_off(self.gateway, link.port, first)
        if cut:
            cut_off(link.namespace, "ap0", first)
        return link


def cut_off(namespace, device, first=""):
    """Drops at the device's ingress, behind the taps: the IP stack never sees a packet."""
    hook = f"type filter hook ingress device {device} priority 0; policy drop;"
    rules = f"table netdev cut_{device} {{ chain in {{ {hook} {first} }}; }}"
    run("ip", "netns", "exec", namespace, "nft", rules)


class Link:
    """One contender's place, and its program while one runs there."""

    def __init__(self, lab, name, number):
        self.lab = lab
        self.name = name
        self.namespace = f"{lab.name}-{number}"
        self.port = f"gw{number}"
        self.source, self.target = f"10.77.{number}.1", f"10.77.{number}.2"
        self.port_mac, self.mac = f"02:00:00:00:{number:02x}:01", f"02:00:00:00:{number:02x}:02"
        self.log = Path(lab.logs.name) / f"{number}.log"
        self.process = None

    def steer_softirq(self, port_cpu, device_cpu):
        """RPS: where either end handles what it receives; None = on the sender's CPU."""
        for space, device, cpu in (
            (self.lab.gateway, self.port, port_cpu),
            (self.namespace, "ap0", device_cpu),
        ):
            mask = f"{0 if cpu is None else 1 << cpu:x}"
            run("ip", "netns", "exec", space, "sh", "-c",
                f"for q in /sys/class/net/{device}/queues/rx-*; do echo {mask} >$q/rps_cpus; done")  # fmt: skip

    def start(self, command, ready="ready"):
        """Starts the contender and waits until it says `ready` (None: a second), then stops it in
        its tracks: only the one under test runs."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *(str(word) for word in command)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        put_first(self.process.pid)
        deadline = time.monotonic() + (GIVE_UP if ready else 1)
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise NotStarted(f"{self.name} ended at its start: {self.last_words()}")
            if ready and ready in self.log.read_text(errors="replace"):
                break
            time.sleep(0.02)
        else:
            if ready:
                raise NotStarted(f"{self.name} is not ready after {GIVE_UP} s: {self.last_words()}")
        self.pause()

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(no word)"

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def frame_flags(self):
        return ["--interface", self.port, "--source", self.source, "--target", self.target,
                "--to", self.mac]  # fmt: skip

    def run_in_gateway(self, command):
        """Output of a program in the gateway's namespace."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.lab.gateway, *(str(word) for word in command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        put_first(process.pid)
        try:
            output, errors = process.communicate(timeout=GIVE_UP * 5)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        return process.returncode, output, errors
