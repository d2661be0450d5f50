"""Fixtures: the packages of this release, a network, a machine in it."""

import os
from pathlib import Path

import pytest

import lab as lab_module
from gateway import Gateway
from lab import ROOT, Lab
from machine import Machine, Overlay, remove_leftovers

DIST = Path(os.environ.get("SLUICE_DIST", ROOT / "dist"))


def only(pattern):
    found = sorted(DIST.glob(pattern))
    assert len(found) == 1, f"{pattern} in {DIST}: {found} (tools/package makes them)"
    return found[0]


@pytest.fixture(scope="session")
def dist():
    """Finds the one package of a name pattern."""
    return only


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    lab_module.remove_leftovers()
    remove_leftovers()
    network = Lab(tmp_path_factory.mktemp("lab"))
    yield network
    network.close()


@pytest.fixture
def fresh(lab):
    """The lab for a test that starts its own programs; they end with the test."""
    before = len(lab.programs)
    yield lab
    lab.end_programs(since=before)


@pytest.fixture
def gateway(lab):
    made = Gateway(lab)
    yield made
    made.close()


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    made = Overlay(tmp_path_factory.mktemp("overlay"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def machine(lab, overlay, tmp_path_factory):
    made = Machine(overlay, lab.namespace("appliance"), tmp_path_factory.mktemp("machine") / "log")
    yield made
    made.close()
