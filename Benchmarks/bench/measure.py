"""Contenders, and the measurements that send.c takes of them."""

import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab import SEND_CPU, SERVE_CPU, Failure

BACKENDS = ("packet", "udp", "raw")
SIZES = ("128", "imix", "1500", "8500")  # inner bytes
# Where the blog policy does not search, and where it does.
PORTS = {"pass": 4000, "blog": 3000}
# A burst that fits the queues: 4096 slots, or 4096 × 9216 bytes of socket buffer.
BURST = {"128": 3000, "imix": 3000, "1500": 2400, "8500": 1600}


BEGAN = time.monotonic()


def say(text):
    """Progress, with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:4.0f} s  {text}", file=sys.stderr, flush=True)


@dataclass
class Programs:
    """Where the programs are."""

    sluice: Path
    generator: Path
    reference: Path  # directory of reflect and send

    def appliance_flags(self):
        """What `sluice run` of this build knows."""
        if not hasattr(self, "_help"):
            done = subprocess.run([self.sluice, "run", "--help"], capture_output=True, text=True)
            self._help = done.stdout
        return self._help


def need_generator(programs):
    if not programs.generator.exists():
        raise Failure(f"no {programs.generator}: build sluice-gen, or set SLUICE_GEN")


@dataclass
class Contender:
    """One program with one I/O method, in its place."""

    program: str  # sluice, c, or a name given with --also
    io: str
    policy: str  # which work it does: pass, blog, or any
    link: object
    samples: dict = field(default_factory=dict)

    @property
    def name(self):
        return f"{self.program} {self.io}"


def appliance_command(programs, link, io, workers=1, cpus=(SERVE_CPU,), busy_poll=False):
    command = [programs.sluice, "run", "--io", io, "--interface", "ap0", "--workers", workers]
    command += ["--cpus", ",".join(map(str, cpus)), "--health", "127.0.0.1:8080"]
    if "--control" in programs.appliance_flags():
        command += ["--control", Path(link.lab.logs.name) / f"{link.port}.sock"]
    return command + (["--busy-poll"] if busy_poll else [])


def reference_command(
    programs, io, policy, workers=1, cpus=(SERVE_CPU,), busy_poll=False, frames=4096
):
    command = [programs.reference / "reflect", "--io", io, "--interface", "ap0"]
    command += ["--policy", "blog" if policy == "blog" else "none", "--frames", frames]
    command += ["--workers", workers, "--cpu", ",".join(map(str, cpus))]
    if policy == "blog":
        # The same work as the appliance; pass-through is parse and swap only.
        command += ["--outer-checksum", "compute"]
    return command + (["--busy-poll"] if busy_poll else [])


def add_appliance(lab, programs, io, **options):
    link = lab.add_link(f"sluice --io {io}")
    link.start(appliance_command(programs, link, io, **options))
    return Contender("sluice", io, "any", link)


def add_reference(lab, programs, io, policy, **options):
    link = lab.add_link(f"reflect --io {io}", cut=io == "packet")
    link.start(reference_command(programs, io, policy, **options))
    return Contender("c", io, policy, link)


def add_other(lab, text, cut):
    """NAME=COMMAND with {namespace} and {interface} to fill in; it runs in the namespace."""
    name, _, command = text.partition("=")
    if not name or not command:
        raise Failure(f"--also: expected NAME=COMMAND, not {text}")
    link = lab.add_link(name, cut=cut)
    words = command.format(namespace=link.namespace, interface="ap0", cpu=SERVE_CPU)
    link.start(shlex.split(words), ready=None)
    return Contender(name, name, "pass", link)


# --- what send.c says ----------------------------------------------------------------------------


def send(programs, link, *flags, size="128", policy="pass", flows=256, cpus=(SEND_CPU,)):
    command = [programs.reference / "send", *link.frame_flags(), "--size", size]
    command += ["--port", PORTS[policy], "--flows", flows, "--cpu", ",".join(map(str, cpus))]
    code, output, errors = link.run_in_gateway([*command, *flags])
    if code != 0:
        raise Failure(f"send gave {code}: {errors.strip()}")
    return json.loads(output)


def send_cost(programs, link, size, policy, count=None):
    """CPU ns per frame for sending to an immediate drop."""
    result = send(programs, link, "--count", count or BURST[size], size=size, policy=policy)
    return result["cpu_ns"] / max(1, result["sent"])


def drain(programs, link, size, policy, repeat, count=None, **options):
    """`repeat` drains after one that only warms the caches: a list of samples."""
    count = count or BURST[size]
    flags = ["--count", count, "--drain", link.pid, "--repeat", repeat + 1]
    try:
        drains = send(programs, link, *flags, size=size, policy=policy, **options)["drains"]
    finally:
        if link.process.poll() is not None:
            raise Failure(f"{link.name} has ended: {link.last_words()}")
        link.pause()
    return [sample(one) for one in drains[1:]]


def sample(one):
    """Per packet: service rate, CPU of the process, of sending; and the share that is missing."""
    answered = max(1, one["answered"])
    return {
        "rate": answered / max(1, one["serve_ns"]) * 1e9,
        "process_ns": one["process_cpu_ns"] / answered,
        "send_ns": one["send_cpu_ns"] / max(1, one["sent"]),
        "send_wall_ns": one["send_wall_ns"] / max(1, one["sent"]),
        "loss": 1 - one["answered"] / max(1, one["sent"]),
    }


def with_core_cost(samples, idle_send_ns):
    """Core cost = receive softirq + process: sending costs the more, the more the kernel does with
    the packet at the other end (veth delivers on the sender's CPU)."""
    for one in samples:
        one["softirq_ns"] = one["send_ns"] - idle_send_ns
        one["core_ns"] = one["softirq_ns"] + one["process_ns"]
    return samples


def median(samples, key):
    return statistics.median(one[key] for one in samples)


# --- figures -------------------------------------------------------------------------------------


def pick(cells, **wanted):
    return [cell for cell in cells if all(cell[key] == value for key, value in wanted.items())]


def summary(cells):
    """Medians over rounds of each round's median, and the least disturbed values."""
    figures = {
        key: statistics.median(median(cell["samples"], key) for cell in cells)
        for key in ("rate", "process_ns", "softirq_ns", "core_ns", "loss")
    }
    samples = [one for cell in cells for one in cell["samples"]]
    figures["best_rate"] = max(one["rate"] for one in samples)
    figures["best_process_ns"] = min(one["process_ns"] for one in samples)
    figures["best_core_ns"] = min(median(cell["samples"], "core_ns") for cell in cells)
    figures["worst_loss"] = max(one["loss"] for one in samples)
    return figures


def turn_ratio(cells, others, key):
    """Median over all turns of one contender's value by the other's of the same turn."""
    theirs = {cell["round"]: cell["samples"] for cell in others}
    return statistics.median(
        mine[key] / other[key]
        for cell in cells
        for mine, other in zip(cell["samples"], theirs[cell["round"]])
    )
