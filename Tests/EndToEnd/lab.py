"""The lab for the end-to-end tests: namespaces, programs in them, and what the appliance reports."""

import contextlib
import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SLUICE_BIN", ROOT / ".build" / "release"))
PREFIX = "slt-"
GIVE_UP = 60  # seconds until a wait is a failure; nothing is ever expected to need this long
HEALTH_PORT = 8080
ADDRESS = "192.168.20.5"

_libc = ctypes.CDLL(None, use_errno=True)


def wait_until(condition, what, give_up=GIVE_UP, every=0.05):
    """The first true value of `condition`; fails the test when there is none in `give_up` seconds."""
    deadline = time.monotonic() + give_up
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up after {give_up} s: {what}")
        time.sleep(every)


# --- namespaces ----------------------------------------------------------------------------------


def _set_namespace(descriptor):
    if _libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(namespace):
    """Sockets opened in this block belong to `namespace`, also after it. Concerns this thread only."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _set_namespace(there)
        yield
    finally:
        _set_namespace(home)
        os.close(home)
        os.close(there)


def without_ours(environment):
    """Without SLUICE_BIN and the like, which are for tests: the appliance refuses what it does not know."""
    return {name: value for name, value in environment.items() if not name.startswith("SLUICE_")}


def run(*command, check=True, **options):
    defaults = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    options = {**defaults, "env": without_ours(os.environ), **options}
    if "input" in options:
        del options["stdin"]
    done = subprocess.run([str(part) for part in command], **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command} gave {done.returncode}: {done.stdout}{done.stderr}")
    return done


def remove_leftovers():
    """What a crashed earlier run left behind: its namespaces and everything that runs in them."""
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        owner = path.name[len(PREFIX) :].split("-")[0]
        if owner.isdigit() and Path(f"/proc/{owner}").exists():
            continue
        for pid in run("ip", "netns", "pids", path.name, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", path.name, check=False)


# --- programs ------------------------------------------------------------------------------------


class Program:
    """A program in a namespace, its standard error in a file."""

    def __init__(self, lab, host, arguments, environment=None, prefix=()):
        self.log = lab.directory / f"{lab.next_number()}-{Path(arguments[0]).name}.log"
        self.stdout = self.log.with_suffix(".out")
        command = ["ip", "netns", "exec", lab.namespace(host), *prefix, *arguments]
        with open(self.log, "wb") as errors, open(self.stdout, "wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**without_ours(os.environ), **(environment or {})},
            )

    @property
    def pid(self):
        return self.process.pid

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    @property
    def running(self):
        return self.process.poll() is None

    def wait_for(self, line, give_up=GIVE_UP):
        def seen():
            text = self.text
            assert line in text or self.running, f"ended before {line!r}: {text}"
            return line in text

        wait_until(seen, f"{line!r} in the log: {self.text}", give_up)
        return self

    def send_signal(self, number):
        self.process.send_signal(number)
        return self

    def wait(self, give_up=GIVE_UP):
        try:
            return self.process.wait(give_up)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {give_up} s: {self.text}") from None

    def stop(self, number=signal.SIGINT):
        """Ends the program and gives its exit code."""
        if self.running:
            self.send_signal(number)
        return self.wait()

    def kill(self):
        if self.running:
            self.process.kill()
        self.process.wait()

    def threads(self):
        """Thread ids by name, for example sluice-w0."""
        names = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            names.setdefault((task / "comm").read_text().strip(), int(task.name))
        return names


class Lab:
    """The network of tools/lab under a name of its own; the tests start and stop the programs."""

    def __init__(self, directory):
        self.name = f"{PREFIX}{os.getpid()}"
        self.directory = Path(directory)
        self.programs = []
        self.numbers = 0
        self._tool("up", "--no-programs")

    def _tool(self, *arguments):
        run(ROOT / "tools/lab", *arguments, env={**os.environ, "SLUICE_LAB": self.name})

    def close(self):
        self.end_programs()
        self._tool("down")
        shutil.rmtree(f"/run/sluice-lab/{self.name}", ignore_errors=True)

    def end_programs(self, since=0):
        """Kills what still runs of the programs started after the first `since`."""
        for program in reversed(self.programs[since:]):
            program.kill()
        del self.programs[since:]

    def namespace(self, host):
        return f"{self.name}-{host}"

    def inside(self, host):
        return inside(self.namespace(host))

    def next_number(self):
        self.numbers += 1
        return f"{self.numbers:03}"

    def run(self, host, *command, **options):
        return run("ip", "netns", "exec", self.namespace(host), *command, **options)

    def start(self, host, *arguments, environment=None, prefix=()):
        program = Program(self, host, arguments, environment, prefix)
        self.programs.append(program)
        return program

    def start_appliance(self, *arguments, environment=None, ready=True, prefix=()):
        """`sluice run` with quick drain settings; what `arguments` repeat wins."""
        defaults = {"--health": "0.0.0.0:8080", "--drain-minimum": "1", "--drain-timeout": "5"}
        words = [str(word) for word in arguments]
        for flag, value in defaults.items():
            if flag not in words:
                words += [flag, value]
        program = self.start(
            "appliance", BIN / "sluice", "run", *words, environment=environment, prefix=prefix
        )
        if ready:
            program.wait_for("ready")
            wait_until(lambda: self.health()[0] == 200, f"/health: {program.text}")
        return program

    def start_emulator(self, json_file, *arguments, targets=(ADDRESS,), ready=True):
        program = self.start(
            "gwlb", BIN / "sluice-gwlb", "--a", "tun-a", "--b", "tun-b",
            "--listen", "192.168.20.10", "192.168.20.11", "--target", *targets,
            "--endpoint", "vpce-0123456789abcdef0", "--health", "http",
            "--health-port", HEALTH_PORT, "--health-path", "/health", "--interval", 1,
            "--healthy", 2, "--unhealthy", 2, "--json", json_file, *arguments,
        )  # fmt: skip
        if ready:
            program.wait_for("ready")
            for target in targets:
                program.wait_for(f"target {target} healthy")
        return program

    def socket(self, host, address=None, kind=socket.SOCK_DGRAM, family=socket.AF_INET):
        """A socket in `host`, bound to (address, port) if given, with a give-up time."""
        with self.inside(host):
            sock = socket.socket(family, kind)
        sock.settimeout(GIVE_UP)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        if address is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        return sock

    def connect(self, port=HEALTH_PORT, host="gwlb", address=ADDRESS, timeout=GIVE_UP):
        """A TCP connection to the appliance."""
        sock = self.socket(host, kind=socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def http(self, path, method="GET", port=HEALTH_PORT, timeout=GIVE_UP, body=None):
        """Status and body; (0, "") when nothing answers."""
        try:
            sock = self.connect(port, timeout=timeout)
        except OSError:
            return 0, ""
        connection = http.client.HTTPConnection(ADDRESS, port)
        connection.sock = sock
        try:
            connection.request(method, path, body=body, headers={"Connection": "close"})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def health(self, **options):
        return self.http("/health", **options)

    def status(self):
        code, body = self.http("/status")
        assert code == 200, f"/status gave {code}"
        return json.loads(body)

    def metrics(self):
        code, body = self.http("/metrics")
        assert code == 200, f"/metrics gave {code}"
        return Metrics(body)

    def quiet_metrics(self):
        """The metrics once the packet counters stand still, with the identity proven."""
        last = self.metrics()
        for _ in range(GIVE_UP * 20):
            time.sleep(0.05)
            now = self.metrics()
            if now.packet_counters() == last.packet_counters():
                now.check_identity()
                return now
            last = now
        raise AssertionError("the packet counters never stand still")


# --- metrics -------------------------------------------------------------------------------------

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """A Prometheus page: name → {labels → value}, the labels as a frozenset of pairs."""

    def __init__(self, text):
        self.text = text
        self.samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                match = _SAMPLE.match(line)
                assert match, f"not a sample: {line!r}"
                labels = frozenset(_LABEL.findall(match[2] or ""))
                self.samples.setdefault(match[1], {})[labels] = float(match[3])

    @property
    def names(self):
        return set(self.samples)

    def total(self, name, **labels):
        """The sum of all samples of `name` that carry `labels`."""
        wanted = set(labels.items())
        return sum(value for key, value in self.samples.get(name, {}).items() if wanted <= key)

    def by(self, name, label):
        """label value → sum."""
        sums = {}
        for key, value in self.samples.get(name, {}).items():
            sums[dict(key)[label]] = sums.get(dict(key)[label], 0) + value
        return sums

    def dropped(self):
        """Drop reasons that are not zero."""
        reasons = self.by("sluice_packets_dropped_total", "reason")
        return {reason: count for reason, count in reasons.items() if count}

    def packet_counters(self):
        return [
            self.by(f"sluice_packets_{what}_total", "worker")
            for what in ("received", "forwarded", "dropped")
        ]

    def check_identity(self):
        """received = forwarded + Σ dropped, exactly and for each worker."""
        received, forwarded, dropped = self.packet_counters()
        assert received, "no worker reports what it received"
        for worker, count in received.items():
            assert count == forwarded.get(worker, 0) + dropped.get(worker, 0), (
                f"worker {worker}: {count} received, {forwarded.get(worker, 0)} forwarded, "
                f"{dropped.get(worker, 0)} dropped"
            )


# --- refusals ------------------------------------------------------------------------------------


def check_refusal(program, code, *mentions):
    """One line on standard error that helps, and the exit code."""
    assert program.wait() == code, program.text
    lines = program.text.splitlines()
    assert len(lines) == 1, program.text
    for word in mentions:
        assert word in lines[0], program.text
    for trace in ("Fatal error", "Stack dump", "Backtrace", "Current stack"):
        assert trace not in program.text


def refused(lab, *arguments, environment=None):
    return lab.start_appliance(*arguments, environment=environment, ready=False)
