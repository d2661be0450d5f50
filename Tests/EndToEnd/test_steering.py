"""Ten thousand flows in both directions: each is one worker's, and keeps its order."""

import json

import pytest

from conftest import BACKENDS
from generator import DEVICE, GATEWAYS, TARGET, Link
from lab import BIN, Metrics

WORKERS = 4
FLOWS = 10_000


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    link = Link(tmp_path_factory.mktemp("steering"))
    yield link
    link.close()


def metrics(link):
    return Metrics(link.run("load", "curl", "-sf", f"http://{TARGET}:8080/metrics").stdout)


@pytest.mark.parametrize("io", BACKENDS)
def test_both_directions_of_a_flow_meet_on_one_worker(link, io):
    program = link.start(
        "box", BIN / "sluice", "run", "--io", io, "--workers", WORKERS, "--steer", "flow",
        "--health", f"{TARGET}:8080", "--drain-minimum", 1,
    )  # fmt: skip
    program.wait_for("ready")
    file = link.directory / f"{io}.json"
    done = link.run(
        "load", BIN / "sluice-gen", "run", "--interface", DEVICE, "--target", TARGET, "--source",
        ",".join(GATEWAYS), "--flows", FLOWS, "--both-directions", "--count", 8 * FLOWS, "--rate",
        "10kpps", "--ipv6", "0.2", "--mix", "udp=60,tcp=40", "--expect", "blog", "--json", file,
        check=False, timeout=200,
    )  # fmt: skip
    page = metrics(link)
    link.end_programs()
    report = json.loads(file.read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["lost"] == 0
    assert not any(report["violations"].values()), report["violations"]
    # A flow whose directions met on two workers would be made twice.
    created = page.by("sluice_flows_created_total", "worker")
    assert 0.99 * FLOWS < sum(created.values()) <= FLOWS, created
    assert len(created) == WORKERS
    assert all(count > FLOWS / WORKERS / 2 for count in created.values()), created
    assert page.total("sluice_flows_evicted_total") == 0
