"""tools/bench runs and says what it promises; figures are no matter of a test."""

import json
import os
import sys
from pathlib import Path

import pytest
from lab import BIN, ROOT, run


def test_one_cell_of_the_table(tmp_path):
    done = run(
        ROOT / "tools/bench", "--quick", "--io", "udp", "--size", "128", "--out", tmp_path,
        env={**os.environ, "SLUICE_BIN": str(BIN), "SLUICE_PYTHON": sys.executable},
    )  # fmt: skip
    for column in ("packets/s", "ratio (best)", "CPU ns", "core ns (best)", "loss"):
        assert column in done.stdout, done.stdout
    rows = {(row["program"], row["policy"]): row
            for row in json.loads((tmp_path / "table.json").read_text())["rows"]}  # fmt: skip
    assert set(rows) == {(program, policy) for program in ("sluice", "c")
                         for policy in ("pass", "blog")}  # fmt: skip
    for row in rows.values():
        # Every packet of every drain came back, and somebody spent time on it.
        assert row["worst_loss"] == 0, row
        assert row["rate"] > 0 and row["process_ns"] > 0, row
    assert rows["sluice", "blog"]["rate_ratio"] > 0
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not (BIN / "sluice-gen").exists(), reason="sluice-gen is not built")
def test_the_reference_does_the_same_work(tmp_path):
    """sluice-gen finds no fault with what comes back, from any program by any method."""
    done = run(
        ROOT / "tools/bench", "check", "--quick", "--out", tmp_path,
        env={**os.environ, "SLUICE_BIN": str(BIN), "SLUICE_PYTHON": sys.executable},
    )  # fmt: skip
    rows = json.loads((tmp_path / "check.json").read_text())["rows"]
    assert {row["io"] for row in rows} >= {"udp", "raw", "raw1"}, done.stderr
    for row in rows:
        assert not row["faults"], row
        assert row["received"] + row["expected_drops"] == row["sent"] > 0, row
        assert (row["expected_drops"] > 0) == (row["policy"] == "blog"), row


def test_nothing_stays_behind(tmp_path):
    """A run that is killed leaves namespaces; the next run removes them."""
    done = run(
        sys.executable, "-c",
        "import os, signal, lab\nlab.Lab().__enter__().add_link('x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        check=False, cwd=ROOT / "Benchmarks/bench",
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    left = {path.name for path in Path("/run/netns").glob("slb-*") if is_orphan(path.name)}
    assert left
    run(sys.executable, "-c", "import lab\nlab.remove_leftovers()", cwd=ROOT / "Benchmarks/bench")
    assert not left & {path.name for path in Path("/run/netns").glob("slb-*")}


def is_orphan(name):
    return not Path(f"/proc/{name.split('-')[1]}").exists()
