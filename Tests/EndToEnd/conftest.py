"""Fixtures: one network for the session, an appliance or emulator per group of tests."""

import json
import time

import pytest

import lab as lab_module
from gateway import Gateway
from lab import Lab
from reflector import Reflector

BACKENDS = ("packet", "udp", "raw")


def combinations(workers, backends=BACKENDS):
    """Parameters for the fixture `combination`: each backend with each number of workers, but at
    most two with `packet`, whose group of sockets works alike for any number."""
    pairs = [(io, min(count, 2) if io == "packet" else count) for io in backends for count in workers]
    return [pytest.param(pair, id=f"{pair[0]}-{pair[1]}") for pair in dict.fromkeys(pairs)]


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    lab_module.remove_leftovers()
    network = Lab(tmp_path_factory.mktemp("lab"))
    yield network
    network.close()


@pytest.fixture(scope="module")
def combination(request):
    """(I/O method, number of workers); the module or the test says which by parametrize."""
    return request.param


@pytest.fixture(scope="module")
def io(combination):
    return combination[0]


@pytest.fixture(scope="module")
def workers(combination):
    return combination[1]


@pytest.fixture(scope="module")
def appliance(lab, combination):
    """A running appliance for the tests of a module that share a combination."""
    before = len(lab.programs)
    method, count = combination
    program = lab.start_appliance("--io", method, "--workers", count)
    yield program
    lab.end_programs(since=before)


@pytest.fixture(scope="module")
def open_gateway(lab, appliance):
    gateway = Gateway(lab)
    yield gateway
    gateway.close()


@pytest.fixture
def gateway(lab, appliance, open_gateway):
    """A hand-made GWLB; whatever a test sends, these must hold after it."""
    open_gateway.icmp.clear()
    open_gateway.strays.clear()
    yield open_gateway
    open_gateway.check_silence()
    assert appliance.running, appliance.text
    lab.quiet_metrics()


@pytest.fixture
def drops(lab, appliance):
    """Packets dropped since the test began, by reason."""
    before = lab.quiet_metrics().dropped()

    def since():
        now = lab.quiet_metrics().dropped()
        changes = {reason: now[reason] - before.get(reason, 0) for reason in now}
        return {reason: int(count) for reason, count in changes.items() if count}

    return since


@pytest.fixture
def fresh(lab):
    """The lab for a test that starts its own programs; they end with the test."""
    before = len(lab.programs)
    yield lab
    lab.end_programs(since=before)


@pytest.fixture
def own_gateway(fresh):
    """A hand-made GWLB for a test that starts its own appliance."""
    made = Gateway(fresh)
    yield made
    made.close()


@pytest.fixture
def config(tmp_path):
    """Writes the config file, and gives its path."""

    def write(text):
        path = tmp_path / "sluice.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def control(tmp_path):
    """The control socket of an appliance that the test starts."""
    return tmp_path / "control.sock"


class Emulator:
    """A running sluice-gwlb and, after `finish`, its verdict."""

    def __init__(self, lab, json_file, *arguments, **options):
        self.json_file = json_file
        self.program = lab.start_emulator(json_file, *arguments, **options)

    def finish(self):
        """Exit code and JSON summary."""
        time.sleep(0.5)  # what is under way arrives, or is late
        code = self.program.stop(lab_module.signal.SIGTERM)
        return code, json.loads(self.json_file.read_text())

    def finish_clean(self):
        code, verdict = self.finish()
        assert code == 0, f"{code}: {verdict} {self.program.text}"
        assert not any(verdict["violations"].values()), verdict
        assert verdict["delivered"] > 0, verdict
        return verdict


@pytest.fixture
def emulator(fresh, tmp_path):
    """Starts emulators: emulator("--expect", "reflect", targets=[…])."""

    def start(*arguments, **options):
        return Emulator(fresh, tmp_path / "gwlb.json", *arguments, **options)

    return start


@pytest.fixture
def reflector(fresh):
    """Starts reflectors, and stops them after the test."""
    started = []

    def start(*arguments, **options):
        started.append(Reflector(fresh, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """A skip needs a reason; one without fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if reason.removeprefix("Skipped: ") in ("", "unconditional skip"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
