"""Settings of the host: network card, kernel, manual pages."""

import os
import re
from pathlib import Path

import pytest

from lab import ROOT, run

SET_NIC = ROOT / "deploy" / "nic" / "set-nic"
SYSCTL = ROOT / "deploy" / "sysctl.d" / "60-sluice.conf"
ETHTOOL = """#!/bin/sh
echo "$*" >>"$CALLS"
case $1 in
    -g) printf 'Ring parameters for %s:\\nPre-set maximums:\\nRX:\\t\\t4096\\nTX:\\t\\t1024\\nCurrent hardware settings:\\nRX:\\t\\t1024\\n' "$2" ;;
    -N) echo 'netlink error: Operation not supported' >&2; exit 1 ;;
esac
"""


def test_the_card_gets_its_settings(tmp_path):
    """A card that can all but choose its hash: what it refuses is said, and the rest is done."""
    (tmp_path / "ethtool").write_text(ETHTOOL)
    (tmp_path / "ethtool").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(tmp_path / "calls")}
    done = run(SET_NIC, "lo", env=environment)
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-g lo",
        "-G lo rx 4096",
        "-C lo adaptive-rx on",
        "-N lo rx-flow-hash udp4 sdfn",
        "-K lo rx-udp-gro-forwarding off",
    ]
    assert "lo: receive ring 4096" in done.stdout
    assert "not UDP ports in the receive hash: netlink error: Operation not supported" in done.stdout


def test_a_card_that_knows_nothing_is_no_error(lab):
    done = lab.run("appliance", SET_NIC, "eth0")
    assert "eth0: no merging of UDP packets" in done.stdout
    assert lab.run("appliance", SET_NIC, "nosuch0", check=False).returncode == 71
    assert run(SET_NIC, check=False).returncode == 64


def test_every_sysctl_exists_and_has_a_reason():
    explained = False
    for line in SYSCTL.read_text().splitlines():
        if line.startswith("#"):
            explained = True
        elif line:
            key, value = (part.strip() for part in line.split("="))
            assert Path("/proc/sys", key.replace(".", "/")).exists(), key
            assert value.isdigit() and explained, line
        else:
            explained = False


def read(page):
    """What man shows of a page, which it must not warn of."""
    shown = run("man", "--warnings", "-l", page, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
    assert shown.stderr == ""
    return re.sub(r".\x08", "", shown.stdout)


@pytest.mark.parametrize("program", ["sluice", "sluice-gen", "sluice-gwlb"])
def test_the_manual_page_says_what_the_help_says(program, dist, tmp_path):
    package = dist("sluice_*.deb" if program == "sluice" else "sluice-tools_*.deb")
    run("dpkg-deb", "-x", package, tmp_path)
    text = read(tmp_path / f"usr/share/man/man8/{program}.8.gz")
    helped = run(tmp_path / "usr/bin" / program, "--help").stdout
    for word in set(re.findall(r"(?<!\S)--[a-z][a-z-]+", helped)) - {"--help"}:
        assert word in text, word
    assert "SEE ALSO" in text
    assert program != "sluice" or "sluice.yaml(5)" in text


def test_the_manual_page_of_the_file_has_every_key(dist, tmp_path):
    run("dpkg-deb", "-x", dist("sluice_*.deb"), tmp_path)
    text = read(tmp_path / "usr/share/man/man5/sluice.yaml.5.gz")
    settings, policy = ((ROOT / "docs" / name).read_text() for name in ("settings.md", "policy.md"))
    keys = re.findall(r"^\| `([^`]+)`", settings, re.M) + re.findall(r"^### `([^`]+)`$", policy, re.M)
    assert {"listen.interface", "log.format", "default", "rate"} <= set(keys)
    for key in keys:
        assert re.search(rf"^ +{re.escape(key)}( |$)", text, re.M), key
    flowed = " ".join(text.split())
    flags = re.findall(r"`(--[^`]+|SLUICE_[^`]+)`", settings)
    for words in [*flags, *re.findall(r"^Example: `(.+)`$", policy, re.M)]:
        assert words in flowed, words
    assert "UPDATE_REFERENCE" not in text, "how the pages are made is not for the reader of this one"
