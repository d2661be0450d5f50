"""A machine to install packages on: a fresh Debian root, booted with systemd as its process 1 in the
network namespace of the lab's appliance."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from lab import ROOT, run, wait_until

BASE = Path(os.environ.get("SLUICE_ROOT", ROOT / ".cache" / "debian-root"))
# What changes by itself while a system runs, and what a package manager remembers of every package.
RESTLESS = ("run", "proc", "sys", "dev", "tmp", "var/log", "var/cache", "var/lib/dpkg", "var/lib/systemd", "var/tmp")


SOURCE = "sluice-test-"


def mount(kind, place, *options):
    """Mounts bear the number of the process that made them: see remove_leftovers."""
    run("mount", "-t", kind, *options, f"{SOURCE}{os.getpid()}", place)


def unmount(place):
    run("umount", "--lazy", place)


def remove_leftovers():
    """Mounts that a crashed earlier run left behind. Its machines end with their namespaces."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        source, place = line.split()[:2]
        owner = source.removeprefix(SOURCE)
        if source.startswith(SOURCE) and not Path(f"/proc/{owner}").exists():
            unmount(place)


class Overlay:
    """A root of its own on top of the base, which nobody writes to."""

    def __init__(self, directory):
        self.root = Path(directory) / "root"
        parts = [Path(directory) / name for name in ("upper", "work")]
        for path in (self.root, *parts):
            path.mkdir(parents=True)
        options = f"lowerdir={BASE},upperdir={parts[0]},workdir={parts[1]}"
        mount("overlay", self.root, "-o", options)

    def close(self):
        unmount(self.root)

    def files(self):
        """Every path of the root but what is restless."""
        found = set()
        for folder, folders, names in os.walk(self.root):
            here = Path(folder).relative_to(self.root)
            folders[:] = [name for name in folders if str(here / name) not in RESTLESS]
            found |= {str(here / name) for name in (*folders, *names)}
        return found


class Machine:
    def __init__(self, overlay, namespace, log):
        self.overlay = overlay
        self.log = open(log, "wb")
        # A mount namespace of its own, in which the mounts of nspawn end with it.
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine=sluice-{os.getpid()}",
             f"--network-namespace-path=/run/netns/{namespace}", f"--directory={overlay.root}",
             "--capability=CAP_NET_ADMIN", "--boot"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        try:
            self.leader = wait_until(self._find_leader, "systemd-nspawn starts systemd")
            wait_until(self.is_up, "systemd has started", every=0.5)
        except BaseException:
            self.close()
            raise

    def _find_leader(self):
        assert self.process.poll() is None, Path(self.log.name).read_text(errors="replace")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        names = {child: Path(f"/proc/{child}/comm").read_text().strip() for child in children}
        return next((int(child) for child, name in names.items() if name == "systemd"), None)

    def is_up(self):
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, *command, **options):
        place = ("nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w")
        environment = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
        return run(*place, *environment, *command, **options)

    def property(self, name, unit="sluice.service"):
        return self.run("systemctl", "show", unit, "--value", "-p", name).stdout.strip()

    def journal(self):
        return self.run("journalctl", "-u", "sluice", "--no-pager", "-o", "cat").stdout

    def write(self, path, text):
        (self.overlay.root / path.lstrip("/")).write_text(text)

    def install(self, deb, *options):
        place = self.overlay.root / "root" / deb.name
        shutil.copy(deb, place)
        try:
            return self.run("dpkg", *options, "-i", f"/root/{deb.name}")
        finally:
            place.unlink()

    def main_pid(self):
        """The service's process, as this side numbers it."""
        inner = self.property("MainPID")
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(l.split(":\t", 1) for l in path.read_text().splitlines() if ":\t" in l)
            except (FileNotFoundError, ProcessLookupError):
                continue
            numbers = fields["NSpid"].split()
            if len(numbers) > 1 and numbers[-1] == inner and fields["Name"] == "sluice":
                return int(numbers[0])
        raise AssertionError(f"no process {inner} of the machine")

    def close(self):
        if self.process.poll() is None:
            # Process 1 of the machine, whose end is the end of all within; that of nspawn is not.
            if leader := getattr(self, "leader", None):
                os.kill(leader, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
        self.process.wait()
        self.log.close()
