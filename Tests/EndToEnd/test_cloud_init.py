"""What an instance of the fleet runs beside Sluice: its user data (deploy/cloud-init), judged by
cloud-init's own schema and by shellcheck, and the two scripts of deploy/fleet, run against a
metadata service at 169.254.169.254 inside a network namespace and programs that write down how they
were called."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

import lab as lab_module
from cloudformation import substitute
from debian import unpacked
from lab import ROOT

FLEET = ROOT / "deploy" / "fleet"
USER_DATA = {name: ROOT / "deploy" / "cloud-init" / f"{name}.yaml" for name in ("al2023", "debian")}
VALUES = {
    "ConfigBase64": base64.b64encode(b"policy: { default: forward }\n").decode(),
    "Fleet": "sluice", "LaunchHook": "launch", "TerminateHook": "drain", "DeregistrationDelay": "300",
    "ReleaseUrl": "https://example.com/release", "ReleaseSha256": "0" * 64,
    "Stack": "sluice", "StackResource": "Fleet",
}


def filled(name, **values):
    return substitute(USER_DATA[name].read_text(), {**VALUES, **values}.__getitem__)


def file_of(name, path, **values):
    (found,) = (f for f in yaml.safe_load(filled(name, **values))["write_files"] if f["path"] == path)
    return found["content"]


# ---- User data.


@pytest.fixture(scope="module")
def cloud_init():
    """cloud-init's own code."""
    return unpacked("cloud-init") / "usr" / "lib" / "python3" / "dist-packages"


VALIDATE = """
import sys, yaml
from cloudinit.config.schema import get_schema, validate_cloudconfig_schema
config = yaml.safe_load(open(sys.argv[1]))
schema = get_schema()
validate_cloudconfig_schema(config, schema, strict=True)
# This version lets every key pass at the top.
known = {key for part in schema["$defs"].values() for key in part.get("properties", {})}
assert set(config) <= known, set(config) - known
"""


def validate(cloud_init, path):
    """The code behind `cloud-init schema`; the command itself asks for what a running system has."""
    return subprocess.run([sys.executable, "-W", "ignore", "-c", VALIDATE, path], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(cloud_init)})


@pytest.mark.parametrize("name", USER_DATA)
def test_cloud_init_accepts_the_user_data(cloud_init, tmp_path, name):
    written = tmp_path / "user-data"
    written.write_text(filled(name))
    judged = validate(cloud_init, written)
    assert judged.returncode == 0, judged.stderr
    for right, wrong in (("write_files:", "write_file:"), ("permissions:", "permission:")):
        written.write_text(filled(name).replace(right, wrong))
        judged = validate(cloud_init, written)
        assert judged.returncode != 0 and wrong[:-1] in judged.stderr, "the judge accepts anything"


@pytest.mark.parametrize("name", USER_DATA)
def test_every_name_of_the_template_has_a_value(name):
    text = USER_DATA[name].read_text()
    assert text.startswith("#cloud-config\n")
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(VALUES)
    assert "${" not in filled(name) and len(filled(name)) < 12000


@pytest.mark.parametrize("name", USER_DATA)
def test_shellcheck_accepts_the_start_script(tmp_path, name):
    script = tmp_path / "start"
    script.write_text(file_of(name, "/var/lib/cloud/scripts/sluice-start"))
    judged = subprocess.run(["shellcheck", "-e", "SC2050,SC2157,SC2194", script], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout


def test_the_units_are_sound(tmp_path):
    """By systemd-analyze verify, with the paths that the package installs to."""
    root = tmp_path / "usr" / "lib" / "sluice"
    root.mkdir(parents=True)
    units = []
    for unit in sorted((ROOT / "deploy" / "systemd").glob("sluice-[cl]*")):
        for program in re.findall(r"^ExecStart=/usr/lib/sluice/(\S+)", unit.read_text(), re.M):
            shutil.copy(FLEET / program, root)
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/usr/lib/sluice", str(root)))
        units.append(copy)
    assert len(units) == 3
    judged = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    ours = [line for line in judged.stderr.splitlines() if "sluice" in line]
    assert judged.returncode == 0 and ours == [], judged.stderr


def test_the_packages_bring_what_user_data_starts():
    """The scripts and units of the fleet, in the recipes of both packages."""
    if not (ROOT / "tools" / "package").exists():
        pytest.skip("there is no tools/package that makes packages")
    recipes = {
        "rpm": (ROOT / "deploy" / "rpm" / "sluice.spec").read_text(),
        "deb": "".join(p.read_text() for p in (ROOT / "deploy" / "debian").glob("*") if p.is_file()),
    }
    wanted = [p.name for p in FLEET.iterdir()] + [p.name for p in (ROOT / "deploy" / "systemd").iterdir()]
    assert "sluice-lifecycle.service" in wanted and "follow-lifecycle" in wanted
    for kind, recipe in recipes.items():
        assert [name for name in wanted if name not in recipe] == [], kind


# ---- A pretended instance.

FAKE = """#!/bin/sh
printf '%s %s\\n' "$(basename "$0")" "$*" >>"$CALLS"
program=$(basename "$0")
[ ! -e "$FAKES/$program.fails" ] || {{ rm "$FAKES/$program.fails"; exit 1; }}
{body}
"""

METADATA = """
import http.server, os, pathlib, sys
items = pathlib.Path(sys.argv[1])
class Service(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def answer(self, code, text=""):
        self.send_response(code); self.send_header("Content-Length", str(len(text))); self.end_headers()
        self.wfile.write(text.encode())
    def do_PUT(self):
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.answer(200, "the-token") if self.path == "/latest/api/token" and ttl else self.answer(400)
    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") != "the-token": return self.answer(401)
        item = items / self.path.removeprefix("/latest/meta-data/").replace("/", "_")
        self.answer(200, item.read_text()) if item.exists() else self.answer(404)
http.server.ThreadingHTTPServer(("169.254.169.254", 80), Service).serve_forever()
"""


class Instance:
    """A namespace with a metadata service, and fake programs first in the PATH."""

    def __init__(self, folder):
        self.name = f"{lab_module.PREFIX}{os.getpid()}-imds"
        self.items, self.fakes, self.calls = folder / "items", folder / "fakes", folder / "calls"
        self.items.mkdir()
        self.fakes.mkdir()
        self.calls.touch()
        self.started = []
        self.tell("instance-id", "i-0123456789abcdef0")
        self.tell("placement_region", "eu-central-1")
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
        service = self.start(sys.executable, "-c", METADATA, self.items)
        give_up = time.monotonic() + 20
        while self.run("curl", "-sS", "-m", "1", "http://169.254.169.254/", check=False).returncode:
            assert service.poll() is None and time.monotonic() < give_up, "no metadata service"
            time.sleep(0.05)

    def tell(self, item, value):
        part = self.items / ".part"
        part.write_text(value)
        part.rename(self.items / item)

    def fake(self, *programs, body="exit 0"):
        for program in programs:
            path = self.fakes / program
            path.write_text(FAKE.format(body=body))
            path.chmod(0o755)

    def fail_once(self, program):
        (self.fakes / f"{program}.fails").touch()

    def environment(self, **extra):
        return {"PATH": f"{self.fakes}:{os.environ['PATH']}", "CALLS": str(self.calls),
                "FAKES": str(self.fakes), "FLEET": "sluice", "LAUNCH_HOOK": "launch",
                "TERMINATE_HOOK": "drain", **extra}

    def start(self, *command, **extra):
        self.started.append(subprocess.Popen(
            ["ip", "netns", "exec", self.name, *map(str, command)], env=self.environment(**extra),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return self.started[-1]

    def run(self, *command, check=True, **extra):
        return subprocess.run(["ip", "netns", "exec", self.name, *map(str, command)], check=check,
                              env=self.environment(**extra), capture_output=True, text=True, timeout=120)

    def called(self, program):
        lines = self.calls.read_text().splitlines()
        return [line for line in lines if line.startswith(program + " ")]

    def close(self):
        for one in self.started:
            one.kill()
            one.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@pytest.fixture
def instance(tmp_path):
    lab_module.remove_leftovers()
    made = Instance(tmp_path)
    yield made
    made.close()


# ---- The follower.

QUICK = {"POLL_SECONDS": "1", "HEARTBEAT_SECONDS": "1", "DEREGISTRATION_DELAY": "60"}


def steps(instance):
    """The calls that matter, in order, each run of equal ones once."""
    words = []
    for line in instance.calls.read_text().splitlines():
        if line.startswith("curl "):
            continue
        word = line.split()[2] if line.startswith("aws ") else " ".join(line.split()[:2])
        if not words or words[-1] != word:
            words.append(word)
    return words


def fake_appliance(instance):
    """Healthy as long as `sick` does not exist; it has received a packet more whenever it is asked,
    until `quiet` exists."""
    real_curl = shutil.which("curl")
    instance.fake("curl", body=f"""case "$*" in
        *:8080/health*) [ ! -e "$FAKES/sick" ] || exit 22 ;;
        *:8080/metrics*)
            [ -e "$FAKES/quiet" ] || echo x >>"$FAKES/packets"
            printf 'sluice_packets_received_total{{worker="0"}} 5\\n'
            printf 'sluice_packets_received_total{{worker="1"}} %d\\n' "$(wc -l <"$FAKES/packets")" ;;
        *) exec {real_curl} "$@" ;;
    esac""")


def fake_group(instance, state="Terminating:Wait"):
    """Says `state` of the instance and takes every action; a heartbeat is lost once when `lost` exists."""
    (instance.fakes / "state").write_text(f"{state}\n")
    instance.fake("aws", body="""case $2 in
        describe-auto-scaling-instances) cat "$FAKES/state" ;;
        record-lifecycle-action-heartbeat) [ ! -e "$FAKES/lost" ] || { rm "$FAKES/lost"; exit 1; } ;;
    esac""")


LAUNCHED = ("aws autoscaling complete-lifecycle-action --auto-scaling-group-name sluice "
            "--lifecycle-hook-name launch --instance-id i-0123456789abcdef0 --lifecycle-action-result CONTINUE")


def until(condition, seconds=30):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it does not come"
        time.sleep(0.05)


def told(instance):
    """What the follower said to the group; questions aside."""
    return [call for call in instance.called("aws") if "describe-auto-scaling-instances" not in call]


def test_the_follower_lets_a_healthy_instance_join_once(instance):
    fake_appliance(instance)
    instance.fake("aws", "systemctl")
    (instance.fakes / "sick").touch()
    instance.tell("autoscaling_target-lifecycle-state", "InService")
    follower = instance.start(FLEET / "follow-lifecycle", **QUICK)
    until(lambda: sum(":8080/health" in line for line in instance.called("curl")) > 1)
    assert instance.called("aws") == [], "it joined while it was not healthy"
    (instance.fakes / "sick").unlink()
    until(lambda: instance.called("aws"))
    time.sleep(2.5)
    assert told(instance) == [LAUNCHED] and instance.called("systemctl") == []
    assert follower.poll() is None


def test_the_follower_joins_warm_pool_and_group(instance):
    fake_appliance(instance)
    instance.fake("aws", "systemctl")
    instance.tell("autoscaling_target-lifecycle-state", "Warmed:Stopped")
    instance.start(FLEET / "follow-lifecycle", **QUICK)
    until(lambda: told(instance) == [LAUNCHED])
    instance.tell("autoscaling_target-lifecycle-state", "InService")
    until(lambda: told(instance) == [LAUNCHED] * 2)


def test_the_follower_waits_until_the_group_holds_the_instance(instance):
    """The target still drains, and it is quiet: that is no reason to stop."""
    fake_appliance(instance)
    fake_group(instance, "Terminating")
    instance.fake("systemctl")
    (instance.fakes / "quiet").touch()
    instance.tell("autoscaling_target-lifecycle-state", "Terminated")
    instance.fail_once("aws")
    follower = instance.start(FLEET / "follow-lifecycle", **QUICK)
    until(lambda: len(instance.called("aws")) > 3)
    assert steps(instance) == ["describe-auto-scaling-instances"]
    assert "--instance-ids i-0123456789abcdef0 " in instance.called("aws")[0]
    fake_group(instance)
    output, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0, output
    assert "systemctl stop" in steps(instance) and steps(instance)[-1] == "complete-lifecycle-action"


def test_the_follower_drains_though_it_may_not_ask(instance):
    """A role of before: the answer is an error, and the time is that of the delay and a minute."""
    instance.fake("aws", body='[ "$2" != describe-auto-scaling-instances ]')
    instance.fake("systemctl")
    instance.tell("autoscaling_target-lifecycle-state", "Terminated")
    follower = instance.start(FLEET / "follow-lifecycle", **{**QUICK, "DEREGISTRATION_DELAY": "-57"})
    output, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0 and "it says unknown" in output
    assert steps(instance)[:3] == ["describe-auto-scaling-instances", "record-lifecycle-action-heartbeat", "systemctl stop"]
    assert steps(instance)[-1] == "complete-lifecycle-action"


def test_the_follower_waits_drains_and_completes(instance):
    fake_appliance(instance)
    fake_group(instance)
    instance.fake("systemctl", body="sleep 2.5")
    instance.tell("autoscaling_target-lifecycle-state", "Terminated")
    follower = instance.start(FLEET / "follow-lifecycle", **QUICK)
    until(lambda: len(instance.called("aws")) > 2)
    assert instance.called("systemctl") == [], "it stopped while packets came"
    (instance.fakes / "quiet").touch()
    output, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0, output
    assert steps(instance) == [
        "describe-auto-scaling-instances", "record-lifecycle-action-heartbeat", "systemctl stop",
        "record-lifecycle-action-heartbeat", "complete-lifecycle-action"]
    assert instance.called("systemctl") == ["systemctl stop sluice.service"]
    for call in instance.called("aws")[1:]:
        assert call.startswith("aws autoscaling ")
        assert "--auto-scaling-group-name sluice --lifecycle-hook-name drain" in call
        assert "--instance-id i-0123456789abcdef0" in call
    assert instance.called("aws")[-1].endswith("--lifecycle-action-result CONTINUE")


def test_the_follower_waits_no_longer_than_the_deregistration_delay(instance):
    """With no_rebalance, packets of old flows keep coming."""
    fake_appliance(instance)
    fake_group(instance)
    instance.fake("systemctl")
    instance.tell("autoscaling_target-lifecycle-state", "Terminated")
    follower = instance.start(FLEET / "follow-lifecycle", **{**QUICK, "DEREGISTRATION_DELAY": "3"})
    output, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0, output
    assert len((instance.fakes / "packets").read_text().splitlines()) == 1 + 3
    assert "systemctl stop" in steps(instance) and steps(instance)[-1] == "complete-lifecycle-action"


def test_the_follower_lets_an_unused_instance_of_the_warm_pool_go(instance):
    instance.fake("aws", "systemctl")
    instance.tell("autoscaling_target-lifecycle-state", "Warmed:Terminated")
    output, _ = (follower := instance.start(FLEET / "follow-lifecycle", **QUICK)).communicate(timeout=60)
    assert follower.returncode == 0, output
    assert steps(instance) == ["complete-lifecycle-action"]


def test_the_follower_tries_again_what_failed(instance):
    """A lost call and a failed stop must not hold the instance until the hook's timeout."""
    fake_group(instance)
    instance.fake("systemctl")
    instance.fail_once("systemctl")
    instance.tell("autoscaling_target-lifecycle-state", "Terminated")
    (instance.fakes / "lost").touch()
    output, _ = (follower := instance.start(FLEET / "follow-lifecycle", **QUICK)).communicate(timeout=60)
    assert follower.returncode == 0, output
    assert "record-lifecycle-action-heartbeat failed (attempt 1 of 5)" in output
    assert "systemctl stop sluice.service failed" in output
    assert steps(instance)[-1] == "complete-lifecycle-action"


def test_the_follower_survives_a_silent_metadata_service(instance):
    instance.fake("aws", "systemctl")
    (instance.items / "autoscaling_target-lifecycle-state").unlink(missing_ok=True)
    follower = instance.start(FLEET / "follow-lifecycle", **QUICK)
    time.sleep(2)
    assert follower.poll() is None and instance.calls.read_text() == ""


def test_the_follower_needs_to_know_its_fleet(instance):
    ended = instance.run(FLEET / "follow-lifecycle", check=False, FLEET="")
    assert ended.returncode != 0 and "/etc/sluice/fleet.env" in ended.stderr


# ---- The figures.

NIC = r"""printf 'NIC statistics:\n     bw_in_allowance_exceeded: %s\n     pps_allowance_exceeded: 2\n     conntrack_allowance_available: 900\n' "$(cat "$FAKES/nic")" """


def published(instance, served, nic):
    """What one run tells CloudWatch, by name of the figure."""
    (instance.fakes / "nic").write_text(str(nic))
    (instance.fakes / "served").write_text(served)
    instance.run(FLEET / "publish-figures", RUNTIME_DIRECTORY=str(instance.fakes))
    words = instance.called("aws")[-1].split(" ", 6)
    assert words[:6] == ["aws", "cloudwatch", "put-metric-data", "--namespace", "Sluice", "--metric-data"]
    figures = json.loads(words[6])
    for one in figures:
        assert one["Dimensions"] == [{"Name": "AutoScalingGroupName", "Value": "sluice"}], one
    return {one["MetricName"]: one["Value"] for one in figures}


def served_metrics(kernel, alien, busy):
    return "\n".join([
        "# TYPE sluice_packets_dropped_total counter",
        'sluice_packets_dropped_total{worker="0",reason="rule"} 1000',
        f'sluice_packets_dropped_total{{worker="0",reason="geneve_malformed"}} {alien}',
        f'sluice_packets_dropped_total{{worker="1",reason="aws_options"}} {alien}',
        'sluice_packets_dropped_total{worker="1",reason="send"} 3',
        f'sluice_kernel_drops_total{{worker="0"}} {kernel}', 'sluice_kernel_drops_total{worker="1"} 5',
        'sluice_worker_busy_ratio{worker="0"} 0.125', f'sluice_worker_busy_ratio{{worker="1"}} {busy}', ""])


def test_counters_are_published_as_what_was_added(instance):
    real_curl = shutil.which("curl")
    instance.fake("aws")
    # One host has one network card, whatever this machine has.
    instance.fake("ethtool", body=f'[ "$2" != lo ] || {{ {NIC}; }}')
    instance.fake("curl", body=f'case "$*" in *:8080/metrics*) cat "$FAKES/served" ;; *) exec {real_curl} "$@" ;; esac')

    # The first run only learns where the counters are: they may be weeks old.
    assert published(instance, served_metrics(10, 4, 0.5), nic=7) == {"WorkerBusy": 50.0}
    assert published(instance, served_metrics(12, 5, 0.75), nic=107) == {
        "WorkerBusy": 75.0, "KernelDrops": 2, "SendDrops": 0, "AlienDrops": 2, "AllowanceExceeded": 100}
    # Restarted: counters begin anew.
    assert published(instance, served_metrics(0, 1, 0), nic=107) == {
        "WorkerBusy": 12.5, "KernelDrops": 5, "SendDrops": 0, "AlienDrops": 2, "AllowanceExceeded": 0}


def test_figures_that_cannot_be_published_are_not_forgotten(instance):
    real_curl = shutil.which("curl")
    instance.fake("aws", "ethtool")
    instance.fake("curl", body=f'case "$*" in *:8080/metrics*) cat "$FAKES/served" ;; *) exec {real_curl} "$@" ;; esac')
    published(instance, served_metrics(10, 0, 0), nic=0)
    instance.fail_once("aws")
    (instance.fakes / "served").write_text(served_metrics(20, 0, 0))
    lost = instance.run(FLEET / "publish-figures", check=False, RUNTIME_DIRECTORY=str(instance.fakes))
    assert lost.returncode != 0
    assert published(instance, served_metrics(21, 0, 0), nic=0)["KernelDrops"] == 11


def test_a_silent_appliance_publishes_nothing(instance):
    instance.fake("aws", "ethtool")
    ended = instance.run(FLEET / "publish-figures", check=False, RUNTIME_DIRECTORY=str(instance.fakes))
    assert ended.returncode != 0 and instance.called("aws") == []


def test_the_figures_come_from_metrics_that_are_served(fresh):
    fresh.start_appliance("--io", "udp", "--workers", 1)
    _, served = fresh.http("/metrics")
    text = (FLEET / "publish-figures").read_text()
    for name in re.findall(r"\^(sluice_\w+)", text):
        assert f"# TYPE {name} " in served, name
    alien = re.search(r'reason="(\(.+\))"/ \{ alien', text)[1]
    reasons = set(re.findall(r'reason="(\w+)"', served))
    taken = {reason for reason in reasons if re.fullmatch(alien, reason)}
    assert taken == {r for r in reasons if r.startswith(("outer_", "geneve_"))} | {"aws_options", "source_not_allowed"}


# ---- The start script.


@pytest.fixture
def start_script(instance, tmp_path):
    """Runs sluice-start of a template with a release served under its URL."""

    def start(name, release=b"the release", healthy=True, **values):
        real_curl = shutil.which("curl")
        (instance.fakes / "release").write_bytes(release)
        instance.fake("aws", "dnf", "apt-get", "dpkg", "systemctl", "sysctl", "sleep")
        instance.fake("curl", body=f"""case "$*" in
            *https://example.com/release*)
                while [ "$1" != -o ]; do shift; done
                cp "$FAKES/release" "$2" ;;
            *:8080/health*) exit {0 if healthy else 22} ;;
            *) exec {real_curl} "$@" ;;
        esac""")
        script = tmp_path / "sluice-start"
        script.write_text(file_of(name, "/var/lib/cloud/scripts/sluice-start", **values))
        script.chmod(0o755)
        return instance.run("bash", script, check=False)

    return start


RIGHT = {"ReleaseSha256": hashlib.sha256(b"the release").hexdigest()}
INSTALLED = {"al2023": ("dnf", "/sluice.rpm"), "debian": ("apt-get", "/sluice.deb")}
SIGNAL = "--stack-name sluice --logical-resource-id Fleet --unique-id i-0123456789abcdef0 --status "


@pytest.mark.parametrize("name", USER_DATA)
def test_an_instance_installs_starts_and_reports(instance, start_script, name):
    ended = start_script(name, **RIGHT)
    assert ended.returncode == 0, ended.stderr
    program, file = INSTALLED[name]
    (install,) = instance.called(program)
    assert " install " in install and install.endswith(file)
    assert [line.split()[1] for line in instance.called("systemctl")][-3:] == ["daemon-reload", "enable", "start"]
    for line in instance.called("systemctl")[-2:]:
        assert line.endswith("sluice.service sluice-lifecycle.service sluice-cloudwatch.timer")
    assert [call.endswith(SIGNAL + "SUCCESS") for call in instance.called("aws")] == [True]


@pytest.mark.parametrize("name", USER_DATA)
def test_another_file_than_the_release_is_not_installed(instance, start_script, name):
    ended = start_script(name, release=b"something else", **RIGHT)
    assert ended.returncode != 0 and "not installed" in ended.stderr
    assert instance.called(INSTALLED[name][0]) == []
    assert not any(line.startswith("systemctl start") for line in instance.called("systemctl"))
    assert [call.endswith(SIGNAL + "FAILURE") for call in instance.called("aws")] == [True]


def test_an_unhealthy_instance_reports_failure(instance, start_script):
    ended = start_script("al2023", healthy=False, **RIGHT)
    assert ended.returncode != 0 and "not healthy" in ended.stderr
    assert [call.endswith(SIGNAL + "FAILURE") for call in instance.called("aws")] == [True]


def test_a_baked_image_installs_nothing_and_without_a_stack_reports_nothing(instance, start_script):
    ended = start_script("al2023", ReleaseUrl="", ReleaseSha256="", Stack="")
    assert ended.returncode == 0, ended.stderr
    assert instance.called("dnf") == instance.called("aws") == []
