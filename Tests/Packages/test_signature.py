"""What tools/package signs, with a key that exists for the test alone."""

import os
import shutil

import pytest

from lab import BIN, ROOT, run

OWNER = "Sluice test <test@sluice.invalid>"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """An environment with the key, and the file of its public half."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    environment = {**os.environ, "GNUPGHOME": str(home)}
    run("gpg", "--batch", "--passphrase", "", "--quick-gen-key", OWNER, "rsa2048", "sign", "never", env=environment)
    public = home / "public.asc"
    run("gpg", "--batch", "--armor", "--output", public, "--export", OWNER, env=environment)
    yield environment, public
    run("gpgconf", "--kill", "all", env=environment)


@pytest.fixture(scope="module")
def signed(keys, tmp_path_factory):
    environment, _ = keys
    folder = tmp_path_factory.mktemp("signed")
    told = {"SLUICE_BIN": str(BIN), "SLUICE_DIST": str(folder), "SLUICE_SIGN_KEY": OWNER}
    run(ROOT / "tools" / "package", "rpm", env={**environment, **told})
    return folder


def test_the_rpm_packages_are_signed(keys, signed, tmp_path):
    _, public = keys
    packages = sorted(signed.glob("*.rpm"))
    assert len(packages) == 2
    check = ("rpmkeys", "--dbpath", tmp_path, "--checksig")
    assert run(*check, *packages, check=False).returncode != 0, "the key is not known yet"
    run("rpmkeys", "--dbpath", tmp_path, "--import", public)
    assert run(*check, *packages).stdout.count("digests signatures OK") == 2
    changed = tmp_path / "changed.rpm"
    data = bytearray(packages[0].read_bytes())
    data[-100] ^= 1
    changed.write_bytes(data)
    assert run(*check, changed, check=False).returncode != 0


def test_the_sums_are_signed(keys, signed, tmp_path):
    environment, _ = keys
    run("gpg", "--batch", "--verify", signed / "SHA256SUMS.asc", signed / "SHA256SUMS", env=environment)
    run("sha256sum", "--check", "SHA256SUMS", cwd=signed)
    assert len((signed / "SHA256SUMS").read_text().splitlines()) == 2
    other = tmp_path / "SHA256SUMS"
    shutil.copy(signed / "SHA256SUMS", other)
    other.write_text(other.read_text().replace("0", "1"))
    assert run("gpg", "--batch", "--verify", signed / "SHA256SUMS.asc", other, env=environment, check=False).returncode
