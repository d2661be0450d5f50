"""The smallest network for the traffic generator: it and an appliance, joined by one link."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from lab import BIN, PREFIX, ROOT, Program, run

GATEWAYS = ("192.168.30.10", "192.168.30.11")
TARGET = "192.168.30.5"
DEVICE = "eth0"


class Link:
    """Two namespaces, `load` and `box`, and what runs in them."""

    def __init__(self, directory):
        self.name = f"{PREFIX}{os.getpid()}-link"
        self.directory = directory
        self.programs = []
        self.numbers = 0
        self.close()
        for host in ("load", "box"):
            run("ip", "netns", "add", self.namespace(host))
            self.run(host, "sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.disable_ipv6=1")
            self.run(host, "ip", "link", "set", "lo", "up")
        run(
            "ip", "link", "add", DEVICE, "netns", self.namespace("load"), "mtu", 9001, "type", "veth",
            "peer", "name", DEVICE, "netns", self.namespace("box"), "mtu", 9001,
        )  # fmt: skip
        for host, addresses in (("load", GATEWAYS), ("box", (TARGET,))):
            self.run(
                host, "ethtool", "-K", DEVICE, "tx", "off", "rx", "off", "tso", "off", "gso", "off",
                "gro", "off", check=False,
            )  # fmt: skip
            for address in addresses:
                self.run(host, "ip", "addr", "add", f"{address}/24", "dev", DEVICE)
            self.run(host, "ip", "link", "set", DEVICE, "up")

    def namespace(self, host):
        return f"{self.name}-{host}"

    def next_number(self):
        self.numbers += 1
        return f"{self.numbers:03}"

    def run(self, host, *command, **options):
        return run("ip", "netns", "exec", self.namespace(host), *command, **options)

    def start(self, host, *arguments):
        program = Program(self, host, arguments)
        self.programs.append(program)
        return program

    def end_programs(self):
        for program in reversed(self.programs):
            program.kill()
        self.programs.clear()

    def close(self):
        self.end_programs()
        for host in ("load", "box"):
            run("ip", "netns", "del", self.namespace(host), check=False)


def build_reflector(directory):
    """Compiles Tests/Reflector/faulty.c."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    assert compiler, "no C compiler: apt-get install gcc"
    program = directory / "faulty"
    run(compiler, "-O2", "-Wall", "-Werror", "-o", program, ROOT / "Tests/Reflector/faulty.c")
    return program


class Bench:
    """A generator and a reflector on a link."""

    def __init__(self, directory):
        self.directory = directory
        self.link = Link(directory)
        self.faulty = build_reflector(directory)

    def close(self):
        self.link.close()

    def reflector(self, *arguments, nice=0):
        words = ["nice", "-n", nice, self.faulty, "--interface", DEVICE, *arguments]
        return self.link.start("box", *words).wait_for("ready")

    def finish(self, reflector):
        """What the reflector did, as it counts it."""
        assert reflector.stop(signal.SIGTERM) == 0, reflector.text
        return json.loads(reflector.stdout.read_text())

    def arguments(self, command, *arguments):
        words = [BIN / "sluice-gen", command]
        if command in ("run", "search", "soak"):
            words += ["--interface", DEVICE, "--target", TARGET, "--source", ",".join(GATEWAYS)]
        return [str(word) for word in (*words, *arguments)]

    def generator(self, command, *arguments, timeout=280, path=None, nice=0):
        """Runs sluice-gen to its end; its python3 is the one that runs these tests."""
        path = path or f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return self.link.run(
            "load", *(("nice", "-n", nice) if nice else ()), *self.arguments(command, *arguments),
            check=False, timeout=timeout, env={**os.environ, "PATH": path},
        )  # fmt: skip

    def load(self, *arguments):
        """`sluice-gen run`: exit code, report and everything it printed."""
        file = self.directory / f"run-{self.link.next_number()}.json"
        done = self.generator("run", "--json", file, *arguments)
        said = done.stdout + done.stderr
        assert file.exists() and file.stat().st_size, f"{done.returncode}: {said}"
        return done.returncode, json.loads(file.read_text()), said
