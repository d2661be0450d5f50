"""The generator names exactly the fault that a reflector was told to have, and finds a rate."""

import json
import os
import re
import signal
import sys
import time

import pytest

from generator import GATEWAYS, TARGET, Bench

# What a reflector is told → the kind of violation that the generator must name, and what it needs
# to come to light.
MIXED = ("--mix", "udp=60,tcp=20,icmp=20", "--ipv6", "0.3", "--flows", 40)
BLOG = (*MIXED, "--payload", "neutral=40,drop=30,rewrite=30", "--expect", "blog")
FAULTS = {
    "addresses": ("addresses", MIXED, ()),
    "ports": ("ports", MIXED, ()),
    "geneve": ("geneve", MIXED, ()),
    "cookie": ("geneve", MIXED, ()),
    "outer_checksum": ("outer_checksum", MIXED, ()),
    "inner_checksum": ("inner_checksum", MIXED, ()),
    "payload": ("payload", MIXED, ()),
    "rewritten wrong": ("payload", BLOG, ("--fault", "payload", "--policy", "blog")),
    "missing_drop": ("missing_drop", BLOG, ("--fault", "missing_drop", "--policy", "blog")),
    "unexpected": ("unexpected", MIXED, ()),
    "duplicate": ("duplicate", MIXED, ()),
    "reordered": ("reordered", MIXED, ()),
    "late": ("late", (*MIXED, "--late-after", "200ms"), ("--late-ms", 500, "--every", 200)),
}
# Where a rate is measured, what else the machine does must stand back, for both sides alike.
NICE = -15
RATE = ("--rate", "4kpps", "--duration", "2s")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("generator"))
    yield bench
    bench.close()


@pytest.fixture
def reflector(bench):
    """Starts reflectors, which end with the test."""
    yield bench.reflector
    bench.link.end_programs()


@pytest.mark.parametrize("fault", FAULTS)
def test_exactly_the_fault_is_named(bench, reflector, fault):
    kind, traffic, flags = FAULTS[fault]
    flags = flags if "--fault" in flags else ("--fault", fault, *flags)
    program = reflector("--every", 20, *flags)
    # The others must be zero, loss apart: what came back wrong may count as lost, too.
    code, report, said = bench.load(*RATE, *traffic, "--max-loss", "1")
    did = bench.finish(program)
    found = {name: count for name, count in report["violations"].items() if count}
    assert did["faults"] > 10, did
    assert set(found) == {kind}, (found, did, said)
    assert found[kind] == did["faults"], (found, did, said)
    assert code == 1
    assert kind in said


@pytest.mark.parametrize("checksum", ["valid", "zero"])
@pytest.mark.parametrize("policy", ["reflect", "blog"])
def test_no_fault_no_complaint(bench, reflector, policy, checksum):
    program = reflector("--policy", policy)
    traffic = BLOG if policy == "blog" else MIXED
    code, report, said = bench.load(*RATE, *traffic, "--outer-checksum", checksum, "--size", "128,600")
    did = bench.finish(program)
    assert code == 0, said
    assert not any(report["violations"].values()), report["violations"]
    assert report["lost"] == 0 and report["loss"] == 0
    assert report["sent"] == did["received"] and report["received"] == did["sent"]
    assert report["expected_drops"] == did["policy_drops"]
    assert (report["expected_drops"] > 0) == (policy == "blog")


def test_loss_is_counted_and_its_bound_kept(bench, reflector):
    """Half of what is sent is lost in a bucket of half the rate."""
    program = reflector("--bucket", 2000, "--depth", 20)
    code, report, said = bench.load(*RATE)
    did = bench.finish(program)
    assert code == 1 and not any(report["violations"].values()), said
    assert report["lost"] == did["bucket_drops"]
    assert report["loss"] == pytest.approx(0.5, abs=0.1)
    reflector("--bucket", 2000, "--depth", 20)
    assert bench.load(*RATE, "--max-loss", "0.7")[0] == 0


def test_no_answer_at_all_ends_a_run_with_a_guess(bench):
    begin = time.monotonic()
    code, report, said = bench.load("--rate", "1kpps", "--duration", "1h")
    assert code == 1 and time.monotonic() - begin < 120
    assert report["received"] == 0 and report["duration_s"] < 60
    assert f"nothing came back. {TARGET} answers ARP" in said and "allow-sources" in said, said
    done = bench.generator("search", "--trial", "1s", "--max-rate", "1kpps")
    assert done.returncode == 1 and f"nothing came back. {TARGET} answers ARP" in done.stderr
    assert len(done.stderr.splitlines()) == 3, done.stderr


# --- search ---------------------------------------------------------------------------------------


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rate", [20_000, 50_000])
def test_search_finds_the_rate_of_a_bucket(bench, reflector, rate, tmp_path):
    """Twice right among four searches: a machine that halts for a second makes one wrong. On a quiet
    one it is right every time (SLUICE_SEARCHES=3 asks for three running)."""
    running = int(os.environ.get("SLUICE_SEARCHES", 0))
    reflector("--bucket", rate, "--depth", rate // 50, nice=NICE)
    file = tmp_path / "search.json"
    right = []
    for _ in range(running or 4):
        done = bench.generator("search", "--trial", "2s", "--json", file, nice=NICE)
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "NDR" in done.stdout and "PDR" in done.stdout, said
        (row,) = json.loads(file.read_text())["sizes"]
        right.append(
            row["ndr"]["rate_pps"] == pytest.approx(rate, rel=0.03)
            and row["pdr"]["rate_pps"] == pytest.approx(rate / 0.995, rel=0.03)
        )
        assert right[-1] or not running, said
        if right.count(True) == (running or 2):
            return
    raise AssertionError(f"{right}: {said}")


def test_a_rate_at_the_maximum_is_a_lower_bound(bench, reflector, tmp_path):
    reflector()
    file = tmp_path / "search.json"
    done = bench.generator(
        "search", "--trial", "1s", "--attempts", "1", "--max-rate", "2kpps", "--json", file
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["sizes"]
    assert row["trials"] == 1 and row["ndr"]["at_max_rate"] and not row["ndr"]["generator_limited"]
    assert re.search(r"NDR\s+≥ 2\.0 kpps", done.stdout), done.stdout
    assert "1.0 s: loss 0 %, holds" in done.stderr


def test_search_ends_at_a_violation(bench, reflector):
    reflector("--fault", "ports", "--every", 1000)
    done = bench.generator("search", "--trial", "1s")
    assert done.returncode == 1
    assert "ports" in done.stderr
    assert len(done.stderr.splitlines()) < 10


# --- soak, compare, report ------------------------------------------------------------------------


def test_soak_ends_at_a_signal_with_its_report(bench, reflector, tmp_path):
    program = reflector()
    file = tmp_path / "soak.json"
    soak = bench.link.start(
        "load",
        *bench.arguments("soak", "--rate", "2kpps", "--duration", "1h", "--interval", "1s", "--json", file),
    )
    # A heading, then a line for each second.
    deadline = time.monotonic() + 60
    while len(soak.stdout.read_text().splitlines()) < 4:
        assert soak.running and time.monotonic() < deadline, soak.text
        time.sleep(0.1)
    assert soak.stop(signal.SIGINT) == 0, soak.text
    report = json.loads(file.read_text())
    did = bench.finish(program)
    assert report["sent"] == report["received"] == did["received"] > 4000
    assert len(report["intervals"]) >= 3


def test_compare_gives_ratios(bench, reflector, tmp_path):
    bench.link.run("box", "ip", "addr", "replace", "192.168.30.6/24", "dev", "eth0")
    reflector()
    file = tmp_path / "compare.json"
    done = bench.generator(
        "compare", TARGET, "192.168.30.6", "--interface", "eth0", "--source", GATEWAYS[0],
        "--rate", "2kpps", "--trial", "1s", "--rounds", "3", "--json", file,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(file.read_text())
    assert len(result["rounds"]) == 3
    ratio = result["ratios"]["latency_p50"]
    assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]


def test_compare_looks_for_the_rates_itself(bench, reflector, tmp_path):
    """Without --rate: both addresses are one bucket, so that the ratio is about 1."""
    bench.link.run("box", "ip", "addr", "replace", "192.168.30.6/24", "dev", "eth0")
    reflector("--bucket", 2000, "--depth", 20, nice=NICE)
    file = tmp_path / "compare.json"
    done = bench.generator(
        "compare", TARGET, "192.168.30.6", "--interface", "eth0", "--source", GATEWAYS[0],
        "--trial", "1s", "--precision", "20%", "--loss", "5%", "--max-rate", "4kpps", "--rounds", "1",
        "--json", file, nice=NICE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(file.read_text())
    (only,) = result["rounds"]
    for side in ("a", "b"):
        assert 1000 < only[side]["rate_pps"] < 3000, result
    assert set(result["ratios"]) == {"rate"} and 0.4 < result["ratios"]["rate"]["median"] < 2.5
    assert "highest rate" in done.stdout


def test_report_says_in_one_line_what_is_missing(bench, tmp_path):
    page = tmp_path / "page"
    (tmp_path / "other.json").write_text('{"some": "thing"}')
    (tmp_path / "bad.json").write_text("{")
    empty = tmp_path / "empty"
    empty.mkdir()
    for file, code, text in (
        ("missing.json", 71, "No such file"),
        ("other.json", 64, "not a report of sluice-gen"),
        ("bad.json", 64, "not JSON"),
    ):
        done = bench.generator("report", tmp_path / file, "--out", page)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert text in done.stderr and file in done.stderr
    # A python3 without matplotlib, then none at all.
    (empty / "python3").write_text(f"#!/bin/sh\nexec {sys.executable} -S -I \"$@\"\n")
    (empty / "python3").chmod(0o755)
    tools = f"{empty}:/usr/sbin:/sbin"
    done = bench.generator("report", tmp_path / "other.json", "--out", page, path=tools)
    assert done.returncode == 71 and "pip install matplotlib" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
    (empty / "python3").unlink()
    done = bench.generator("report", tmp_path / "other.json", "--out", page, path=tools)
    assert done.returncode == 71 and "python3" in done.stderr, done.stderr
    assert not page.exists()


def test_a_report_page_needs_no_network(bench, reflector, tmp_path):
    reflector()
    runs = []
    for size in (128, 512):
        runs.append(tmp_path / f"run-{size}.json")
        done = bench.generator(
            "run", "--rate", "2kpps", "--duration", "2s", "--size", size, "--json", runs[-1]
        )
        assert done.returncode == 0, done.stdout + done.stderr
    done = bench.generator("report", *runs, "--out", tmp_path / "page")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "page" / "index.html").read_text()
    assert not re.search(r"(https?:)?//\w", page.split("<body>", 1)[1].replace("data:image", ""))
    assert "http://" not in page and "https://" not in page
    images = re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert len(images) >= 3
    # When, where and by what; and whether it was right.
    about = json.loads(runs[0].read_text())["about"]
    for word in (about["host"], about["version"], about["kernel"], about["date"][:10], "passed"):
        assert word in page, word
    for image in images:
        assert image.startswith("data:image/") or (tmp_path / "page" / image).stat().st_size > 1000
