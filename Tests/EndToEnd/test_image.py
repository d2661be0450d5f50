"""deploy/image: the recipe judged by Packer, the script that bakes run in a pretended instance.

Debian's Packer is older than the recipe's one feature for the metadata service of the building
instance: that block is taken out before Packer judges the rest, and asserted here. No image is built.
"""

import hashlib
import os
import re
import shutil
import subprocess

import pytest

from debian import unpacked
from lab import ROOT

IMAGE = ROOT / "deploy" / "image"
RELEASE = b"the release"
VALUES = {
    "region": "eu-central-1", "subnet_id": "subnet-0123456789abcdef0", "builder_cidr": "192.0.2.1/32",
    "release_url": "https://example.com/sluice.rpm", "release_sha256": hashlib.sha256(RELEASE).hexdigest(),
}
METADATA_OPTIONS = re.compile(r"\n  metadata_options \{(.*?)\n  \}\n", re.S)


@pytest.fixture(scope="module")
def packer():
    folder = unpacked("packer")

    def run(*arguments):
        """Without a network: it would ask for newer versions of itself."""
        return subprocess.run(
            ["unshare", "--net", folder / "usr" / "bin" / "packer", *arguments], capture_output=True, text=True,
            env={**os.environ, "CHECKPOINT_DISABLE": "1", "PACKER_CONFIG_DIR": str(folder)})

    return run


@pytest.fixture
def recipe(tmp_path):
    text = (IMAGE / "sluice.pkr.hcl").read_text()
    blocks = METADATA_OPTIONS.findall(text)
    assert len(blocks) == text.count('source "amazon-ebs"') == 2
    for block in blocks:
        assert re.search(r'http_tokens\s*= "required"', block)
        assert re.search(r"http_put_response_hop_limit = 1\b", block)
    shutil.copy(IMAGE / "bake", tmp_path)
    copy = tmp_path / "sluice.pkr.hcl"
    copy.write_text(METADATA_OPTIONS.sub("", text))
    return copy


def validate(packer, recipe, **values):
    given = {**VALUES, **values}
    return packer("validate", *(f"-var={name}={value}" for name, value in given.items()), recipe)


def test_packer_accepts_the_recipe(packer, recipe):
    judged = validate(packer, recipe)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert validate(packer, recipe, architecture="arm64").returncode == 0
    judged = packer("fmt", "-check", "-diff", IMAGE)
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("name, value, complaint", [
    ("builder_cidr", "0.0.0.0/0", "prefix of /24 or longer"),
    ("builder_cidr", "everyone/32", "prefix of /24 or longer"),
    ("release_url", "http://example.com/sluice.rpm", "begins with https://"),
    ("release_sha256", "abc", "64 hexadecimal digits"),
    ("architecture", "i386", "x86_64 or arm64"),
])
def test_packer_refuses_wrong_values(packer, recipe, name, value, complaint):
    judged = validate(packer, recipe, **{name: value})
    assert judged.returncode != 0 and complaint in judged.stdout + judged.stderr


def test_what_is_baked_is_encrypted_and_closed():
    text = (IMAGE / "sluice.pkr.hcl").read_text()
    assert len(re.findall(r"^  encrypt_boot\s+= true$", text, re.M)) == 2
    assert len(re.findall(r"^  temporary_security_group_source_cidrs = \[var\.builder_cidr\]$", text, re.M)) == 2


# ---- The script.

FAKE = """#!/bin/sh
printf '%s %s\\n' "$(basename "$0")" "$*" >>"$CALLS"
{body}
"""


class Baking:
    """A root to clean, and fake programs for everything that would touch this machine."""

    def __init__(self, folder, family):
        self.root, self.calls = folder / "root", folder / "calls"
        fakes = folder / "fakes"
        fakes.mkdir()
        for path in ("etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub", "etc/ssh/sshd_config",
                     "etc/machine-id", "root/.ssh/authorized_keys", "home/admin/.ssh/authorized_keys",
                     "home/admin/.bash_history"):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text("something\n")
        (folder / "release").write_bytes(RELEASE)
        self.calls.touch()
        programs = {name: "exit 0" for name in ("apt-get", "systemctl", "cloud-init", "sync")}
        programs["curl"] = f'while [ "$1" != -o ]; do shift; done; cp {folder}/release "$2"'
        if family == "al2023":
            programs["dnf"] = "exit 0"
        for name, body in programs.items():
            (fakes / name).write_text(FAKE.format(body=body))
            (fakes / name).chmod(0o755)
        self.environment = {
            "PATH": f"{fakes}:{os.environ['PATH']}", "CALLS": str(self.calls), "ROOT": str(self.root),
            "RELEASE_URL": "https://example.com/release", "RELEASE_SHA256": VALUES["release_sha256"]}

    def run(self, **changes):
        return subprocess.run([IMAGE / "bake"], env={**self.environment, **changes}, capture_output=True, text=True)

    def called(self, program):
        return [line for line in self.calls.read_text().splitlines() if line.startswith(program + " ")]


@pytest.mark.parametrize("family, program, file", [
    ("al2023", "dnf", "/sluice.rpm"), ("debian", "apt-get", "/sluice.deb")])
def test_baking_installs_and_forgets_the_instance(tmp_path, family, program, file):
    baking = Baking(tmp_path, family)
    ended = baking.run()
    assert ended.returncode == 0, ended.stderr
    assert [c for c in baking.called(program) if " install " in c and c.endswith(file)]
    assert baking.called("systemctl") == [
        "systemctl disable --now sluice.service sluice-lifecycle.service sluice-cloudwatch.timer"]
    assert baking.called("cloud-init") == ["cloud-init clean --logs"]
    left = sorted(str(p.relative_to(baking.root)) for p in baking.root.rglob("*") if p.is_file())
    assert left == ["etc/machine-id", "etc/ssh/sshd_config"]
    assert (baking.root / "etc/machine-id").read_text() == ""


def test_another_file_than_the_release_is_not_baked(tmp_path):
    baking = Baking(tmp_path, "al2023")
    ended = baking.run(RELEASE_SHA256="0" * 64)
    assert ended.returncode != 0 and "not installed" in ended.stderr
    assert baking.called("dnf") == [] and (baking.root / "root/.ssh/authorized_keys").exists()
