"""Programs from Debian's packages, unpacked under .cache and not installed: some that judge files here
would, installed, take part in the next boot of this machine."""

import subprocess

import pytest

from lab import ROOT


def unpacked(package):
    """The folder with the package's files; skips the test, with the reason, when it cannot be had."""
    folder = ROOT / ".cache" / package
    if not (folder / "usr").exists():
        folder.mkdir(parents=True, exist_ok=True)
        download = ["apt-get", "download", "-q", package]
        fetched = subprocess.run(download, cwd=folder, capture_output=True, text=True)
        if fetched.returncode:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            fetched = subprocess.run(download, cwd=folder, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"the package {package} cannot be fetched: {fetched.stderr.strip()[-200:]}")
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        archive.unlink()
    return folder
