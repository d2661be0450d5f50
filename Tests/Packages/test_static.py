"""The programs depend on nothing: no library, no file, no name service."""

import shutil

import pytest

from lab import BIN, run
from machine import mount, unmount
from packets import geneve, outer, udp4

PROGRAMS = ("sluice", "sluice-gen", "sluice-gwlb")
CONFIG = """
policy:
  rules:
    - { name: drop-me, match: { protocol: udp, payload: { contains: drop me } }, action: drop }
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_ldd_finds_no_dependency(program):
    asked = run("ldd", BIN / program, check=False)
    assert asked.returncode == 1 and "not a dynamic executable" in asked.stderr
    assert "INTERP" not in run("readelf", "-lW", BIN / program).stdout
    assert "NEEDED" not in run("readelf", "-dW", BIN / program).stdout


@pytest.fixture(scope="module")
def empty_root(tmp_path_factory):
    """The programs, a config file and /proc, which every container has and the Swift runtime asks
    for its own path; nothing else: no /sys, /dev, /etc, no library."""
    root = tmp_path_factory.mktemp("empty")
    for program in PROGRAMS:
        shutil.copy(BIN / program, root)
    (root / "sluice.yaml").write_text(CONFIG)
    (root / "proc").mkdir()
    mount("proc", root / "proc")
    yield root
    unmount(root / "proc")


def test_asking_works_in_an_empty_root(empty_root):
    assert run("chroot", empty_root, "/sluice", "version").stdout.startswith("sluice ")
    assert "drop-me" in run("chroot", empty_root, "/sluice", "check", "/sluice.yaml").stdout
    for program in PROGRAMS:
        assert "USAGE" in run("chroot", empty_root, f"/{program}", "--help").stdout
    wrong = run("chroot", empty_root, "/sluice", "check", "/nothing.yaml", check=False)
    assert wrong.returncode == 78 and len(wrong.stderr.splitlines()) == 1


@pytest.mark.parametrize("io", ["packet", "udp", "raw"])
def test_it_forwards_from_an_empty_root(fresh, gateway, empty_root, io):
    program = fresh.start(
        "appliance", "/sluice", "run", "--config", "/sluice.yaml", "--io", io, "--interface", "eth0",
        "--control", "/control.sock", prefix=("chroot", empty_root),
    )  # fmt: skip
    program.wait_for("ready")
    gateway.ask(outer(geneve(udp4(b"hello"))))
    gateway.refused(outer(geneve(udp4(b"drop me"))))
    assert fresh.quiet_metrics().dropped() == {"rule": 1}
    asked = run("chroot", empty_root, "/sluice", "reload", "--control", "/control.sock")
    assert asked.stdout == "generation 2\n"
    assert program.stop() == 0
