"""The container image, built by buildah without a daemon from the recipe that docker would read."""

import ctypes
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "EndToEnd"))

from lab import run
from machine import mount, unmount
from packets import geneve, outer, udp4

USER = 65532
CAP_NET_ADMIN, CAP_NET_RAW = 12, 13
PR_CAPBSET_DROP = 24


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    """A call of buildah with a store of its own."""
    place = tmp_path_factory.mktemp("buildah")
    call = ("buildah", "--storage-driver", "vfs", "--root", place / "root", "--runroot", place / "run")
    return lambda *arguments: run(*call, *arguments).stdout.strip()


@pytest.fixture(scope="module")
def image(buildah, dist):
    context = dist("image")
    buildah("build", "--isolation", "chroot", "-t", "sluice", "-f", context / "Containerfile", context)
    return "sluice"


@pytest.fixture(scope="module")
def image_root(buildah, image):
    container = buildah("from", image)
    root = buildah("mount", container)
    run("mkdir", "-p", f"{root}/proc")
    mount("proc", f"{root}/proc")
    yield root
    unmount(f"{root}/proc")
    buildah("rm", container)


def test_it_says_what_it_runs(buildah, image):
    config = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["/usr/bin/sluice"]
    assert config["Cmd"][0] == "run"
    assert set(config["ExposedPorts"]) == {"6081/udp", "8080/tcp"}
    assert config["StopSignal"] == "SIGTERM"


def test_it_holds_two_files_and_the_capabilities(image_root, dist):
    with tarfile.open(dist("image") / "root.tar") as tar:
        assert [m.name for m in tar if m.isfile()] == ["etc/sluice/sluice.yaml", "usr/bin/sluice"]
    assert os.getxattr(f"{image_root}/usr/bin/sluice", "security.capability").hex() == (
        "01000002" + "00300000" + "00000000" + "00000000" * 2
    ), "permitted and effective: NET_ADMIN, NET_RAW"
    assert os.stat(f"{image_root}/run/sluice").st_uid == USER


def enter(root, capabilities):
    """What a runtime does for `--user 65532 --cap-drop ALL --cap-add …`."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.chroot(root)
    os.chdir("/")
    for number in range(64):
        if number not in capabilities:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


@pytest.mark.parametrize("io", ["packet", "udp"])
def test_it_forwards_as_its_user(fresh, gateway, image_root, tmp_path, io):
    entry = ("/usr/bin/sluice", "run", "--config", "/etc/sluice/sluice.yaml")
    program = fresh.start(
        "appliance", *entry, "--io", io, "--interface", "eth0",
        prefix=(sys.executable, Path(__file__), image_root),
    )  # fmt: skip
    program.wait_for("ready")
    gateway.ask(outer(geneve(udp4(b"hello"))))
    assert fresh.quiet_metrics().dropped() == {}
    status = Path(f"/proc/{program.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(USER)] * 4
    assert int(fields["CapPrm"], 16) == 0
    assert program.stop() == 0


if __name__ == "__main__":  # ROOT COMMAND…: the prefix of the test above
    enter(sys.argv[1], {CAP_NET_ADMIN, CAP_NET_RAW})
    os.execv(sys.argv[2], sys.argv[2:])
