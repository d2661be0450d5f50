"""The RPM packages, by the tools of their kind; Amazon Linux itself is not at hand."""

import pytest

from lab import ROOT, run
from machine import mount, unmount

FILES = """
    /etc/sluice /etc/sluice/sluice.yaml /usr/bin/sluice /usr/lib/sluice /usr/lib/sluice/set-nic
    /usr/lib/sysctl.d/60-sluice.conf /usr/lib/systemd/system/sluice.service
    /usr/lib/systemd/system/sluice-nic@.service /usr/lib/sysusers.d/sluice.conf
    /usr/share/man/man5/sluice.yaml.5.gz /usr/share/man/man8/sluice.8.gz
    /usr/share/sluice/sluice.schema.json /usr/share/licenses/sluice/LICENSE
""".split()


def query(package, *what):
    return run("rpm", "-qp", "--nosignature", *what, package).stdout.splitlines()


def test_it_holds_what_it_should(dist):
    package = dist("sluice-[0-9]*.rpm")
    assert set(FILES) <= set(query(package, "-l"))
    assert query(package, "-c") == ["/etc/sluice/sluice.yaml"]
    assert set(query(dist("sluice-tools-*.rpm"), "-l")) >= {"/usr/bin/sluice-gen", "/usr/bin/sluice-gwlb"}


def test_it_needs_no_library(dist):
    for package in (dist("sluice-[0-9]*.rpm"), dist("sluice-tools-*.rpm")):
        needs = query(package, "--requires")
        assert not [name for name in needs if ".so" in name or "GLIBC" in name], needs


def test_its_scripts_are_shell(dist, tmp_path):
    text = "\n".join(query(dist("sluice-[0-9]*.rpm"), "--scripts"))
    for when in ("preinstall", "postinstall", "preuninstall", "postuninstall"):
        assert f"{when} scriptlet" in text
    script = tmp_path / "scripts.sh"
    script.write_text("#!/bin/sh\n" + "\n".join(l for l in text.splitlines() if "scriptlet (using" not in l))
    run("shellcheck", "--shell=sh", "--exclude=SC2086", script)


@pytest.fixture
def rpm_root(tmp_path):
    run("rpm", "--root", tmp_path, "--initdb")
    return tmp_path


def test_it_installs_and_goes(dist, rpm_root):
    rpm = ("rpm", "--root", rpm_root, "--nosignature")
    run(*rpm, "-i", "--nodeps", "--noscripts", dist("sluice-[0-9]*.rpm"), dist("sluice-tools-*.rpm"))
    run("mkdir", "-p", rpm_root / "proc")
    mount("proc", rpm_root / "proc")
    try:
        assert run("chroot", rpm_root, "/usr/bin/sluice", "version").stdout.startswith("sluice ")
        checked = run("chroot", rpm_root, "/usr/bin/sluice", "check", "/etc/sluice/sluice.yaml")
        assert checked.stdout
    finally:
        unmount(rpm_root / "proc")
    run(*rpm, "-V", "--nodeps", "--noscripts", "sluice", "sluice-tools")
    run(*rpm, "-e", "--nodeps", "--noscripts", "sluice", "sluice-tools")
    left = [str(path.relative_to(rpm_root)) for path in rpm_root.rglob("*sluice*")]
    assert left == []


def test_rpmlint_finds_nothing(dist):
    rules = ROOT / "deploy" / "rpm" / "rpmlint.toml"
    checked = run("rpmlint", "-c", rules, dist("sluice-[0-9]*.rpm"), dist("sluice-tools-*.rpm"), check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
