"""The scripts below deploy/ that work in an AWS account, with programs that only say what they were asked."""

import base64
import gzip
import hashlib
import json
import re
import subprocess

import pytest
from fake_programs import Programs, matches
from lab import ROOT

SCRIPTS = ROOT / "deploy" / "terraform" / "scripts"
LOAD_TEST = ROOT / "deploy" / "load-test" / "run"
LIFECYCLE = ROOT / "deploy/fleet/follow-lifecycle"
MODULE = ROOT / "deploy/terraform/modules/appliance-fleet"
PACKAGE = ("--package", "https://example.com/sluice.rpm", "--sha256", "0" * 64)

STEPS = (" init ", " plan ", " apply ", " destroy ")

OUTPUTS = json.dumps({
    "region": {"value": "eu-central-1"},
    "host_instance_ids": {"value": {"a": "i-a", "b": "i-b", "c": "i-c"}},
    "host_public_ips": {"value": {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"}},
    "autoscaling_group_name": {"value": "sluice-demo"},
    "target_group_arn": {"value": "arn:target-group"},
})  # fmt: skip
DEPLOYED = (["terraform", "output -json"], [OUTPUTS])


# --- the demo ------------------------------------------------------------------------------------


def test_deploy_plans_asks_applies_and_waits(tmp_path):
    health = (["describe-target-health"], ["initial\n", "unhealthy\tinitial\n", "healthy\n"])
    fake = Programs(tmp_path, ["terraform", "aws"], [DEPLOYED, health])
    done = fake.run(SCRIPTS / "deploy", *PACKAGE, "--region", "us-east-1", answer="y\n")
    assert done.returncode == 0, done.stderr
    assert "cost money" in done.stderr
    calls = fake.summary(*STEPS, "output -json", "describe-target-health", " output$")
    assert calls == ["init", "plan", "apply", "output -json"] + ["describe-target-health"] * 3 + ["output"]
    plan, apply = fake.calls()[1:3]
    [file] = [word.removeprefix("-out=") for word in plan if word.startswith("-out=")]
    assert apply[-1] == file
    assert 'package={url="https://example.com/sluice.rpm",sha256="' + "0" * 64 + '"}' in plan
    assert "region=us-east-1" in plan


def test_deploy_says_the_price_before_it_asks(tmp_path):
    done = Programs(tmp_path, ["terraform", "aws"]).run(SCRIPTS / "deploy", *PACKAGE, answer="n\n")
    assert re.search(r"\$\d\.\d+ an hour", done.stderr.split("nothing was done")[0])


def test_deploy_takes_a_presigned_url(tmp_path):
    url = "https://b.s3.amazonaws.com/sluice.rpm?X-Amz-Credential=AK%2F20260101%2Fs3&X-Amz-Signature=0a"
    fake = Programs(tmp_path, ["terraform", "aws"])
    fake.run(SCRIPTS / "deploy", "--package", url, "--sha256", "0" * 64, answer="n\n")
    assert f'url="{url}"' in " ".join(fake.calls()[1])


def test_deploy_builds_and_uploads(tmp_path):
    fake = Programs(tmp_path, ["terraform", "aws"], [DEPLOYED])
    tool = tmp_path / "package"
    tool.write_text('#!/bin/sh\n[ "$1" = rpm ] && touch "$SLUICE_DIST/sluice-tools-1-1.rpm" && echo it >"$SLUICE_DIST/sluice-1-1.rpm"\n')
    tool.chmod(0o755)
    done = fake.run(SCRIPTS / "deploy", "--build", "--bucket", "my-releases", answer="n\n", SLUICE_PACKAGE_TOOL=str(tool))
    sha256 = hashlib.sha256(b"it\n").hexdigest()
    (upload,) = [call for call in fake.calls() if call[:3] == ["aws", "s3", "cp"]]
    assert upload[-2].endswith("sluice-1-1.rpm") and upload[-1] == f"s3://my-releases/sluice-{sha256[:12]}.rpm"
    plan = next(call for call in fake.calls() if "plan" in call)
    assert f'package={{url="{upload[-1]}",sha256="{sha256}"}}' in plan, done.stderr


def test_deploy_does_nothing_without_a_yes(tmp_path):
    fake = Programs(tmp_path, ["terraform", "aws"])
    done = fake.run(SCRIPTS / "deploy", *PACKAGE, answer="n\n")
    assert done.returncode == 1 and "nothing was done" in done.stderr
    assert fake.summary(*STEPS) == ["init", "plan"]


@pytest.mark.parametrize("step", ["init", "plan", "apply"])
def test_deploy_stops_at_the_step_that_failed(tmp_path, step):
    """The original went on after a failed plan and wrote addresses out of a stale state."""
    fake = Programs(tmp_path, ["terraform", "aws"], [([f" {step} "], [(1, "")]), DEPLOYED])
    done = fake.run(SCRIPTS / "deploy", *PACKAGE, "--yes")
    assert done.returncode != 0
    assert fake.summary(*STEPS)[-1] == step


@pytest.mark.parametrize(
    "wrong",
    [[], ["--package", "http://example.com/sluice.rpm", "--sha256", "0" * 64], ["--package", 'https://x/"}.rpm', "--sha256", "0" * 64],
     [*PACKAGE[:3], "12"], [*PACKAGE, "--frobnicate", "1"], [*PACKAGE, "--region"],
     ["--build"], ["--build", "--bucket", "s3://b"], ["--bucket", "my-releases", *PACKAGE], ["--build", "--bucket", "b-1", *PACKAGE]],
)  # fmt: skip
def test_deploy_refuses_what_it_does_not_know(tmp_path, wrong):
    fake = Programs(tmp_path, ["terraform", "aws"])
    done = fake.run(SCRIPTS / "deploy", *wrong)
    assert done.returncode == 64 and done.stderr.startswith("deploy: ") and not fake.calls()


def test_init_waits_for_each_host_and_installs(tmp_path):
    fake = Programs(tmp_path, ["terraform", "aws"], [
        DEPLOYED,
        (["describe-instance-information", "i-c"], ["None\n", "None\n", "Online\n"]),
        (["describe-instance-information"], ["Online\n"]),
        (["send-command"], ["command-1\n"]),
        (["get-command-invocation"], [(254, ""), "InProgress\n", "Success\n"]),
    ])  # fmt: skip
    done = fake.run(SCRIPTS / "init")
    assert done.returncode == 0, done.stderr
    assert re.findall("host (.) has nc", done.stderr) == ["a", "b", "c"]
    sent = [call for call in fake.calls() if "send-command" in call]
    assert [call[call.index("--instance-ids") + 1] for call in sent] == ["i-a", "i-b", "i-c"]
    assert all("nmap-ncat" in json.loads(call[call.index("--parameters") + 1])["commands"][0] for call in sent)


def test_init_says_how_a_command_ended(tmp_path):
    fake = Programs(tmp_path, ["terraform", "aws"], [
        DEPLOYED, (["describe-instance-information"], ["Online\n"]), (["send-command"], ["command-1\n"]),
        (["get-command-invocation"], ["Failed\n"]),
    ])  # fmt: skip
    done = fake.run(SCRIPTS / "init")
    assert done.returncode == 71 and "host a ended as Failed" in done.stderr


@pytest.mark.parametrize("role, target", [("a", "i-a"), ("c", "i-c"), ("appliance", "i-0123")])
def test_connect_goes_by_role(tmp_path, role, target):
    group = (["describe-auto-scaling-groups", "sluice-demo"], ["i-0123\n"])
    fake = Programs(tmp_path, ["terraform", "aws", "session-manager-plugin"], [DEPLOYED, group])
    done = fake.run(SCRIPTS / "connect", role)
    assert done.returncode == 0, done.stderr
    assert fake.calls()[-1] == ["aws", "ssm", "start-session", "--region", "eu-central-1", "--target", target]


def test_connect_refuses_another_role_and_an_appliance_that_is_not_there(tmp_path):
    group = (["describe-auto-scaling-groups"], ["None\n"])
    fake = Programs(tmp_path, ["terraform", "aws", "session-manager-plugin"], [DEPLOYED, group])
    done = fake.run(SCRIPTS / "connect", "d")
    assert done.returncode == 64 and "one of a, b, c, appliance" in done.stderr and not fake.calls()
    done = fake.run(SCRIPTS / "connect", "appliance")
    assert done.returncode == 71 and "no appliance is in service" in done.stderr


def test_chat_talks_to_c(tmp_path):
    fake = Programs(tmp_path, ["terraform", "nc"], [DEPLOYED])
    assert fake.run(SCRIPTS / "chat").returncode == 0
    assert fake.calls()[-1] == ["nc", "-u", "192.0.2.3", "3000"]


@pytest.mark.parametrize("script", ["init", "chat"])
def test_nothing_works_before_deploy(tmp_path, script):
    fake = Programs(tmp_path, ["terraform", "aws", "nc"], [(["output -json"], ["{}"])])
    done = fake.run(SCRIPTS / script)
    assert done.returncode == 71 and "deploy" in done.stderr


def test_destroy_asks_and_destroys(tmp_path):
    fake = Programs(tmp_path, ["terraform"], [DEPLOYED])
    assert fake.run(SCRIPTS / "destroy", answer="\n").returncode == 1
    assert "destroy" not in fake.summary(*STEPS)
    assert fake.run(SCRIPTS / "destroy", "--yes").returncode == 0
    assert fake.calls()[-1][2:4] == ["destroy", "-input=false"] and "region=eu-central-1" in fake.calls()[-1]


def test_destroy_may_be_repeated(tmp_path):
    fake = Programs(tmp_path, ["terraform"], [(["output -json"], ["{}"])])
    assert fake.run(SCRIPTS / "destroy", "--yes").returncode == 0
    assert fake.summary(*STEPS)[-1] == "destroy"


# --- what follows Auto Scaling on an appliance ---------------------------------------------------


DOWN = "complete-lifecycle-action --auto-scaling-group-name fleet --lifecycle-hook-name down"


def follow(tmp_path, targets, group, health=((7, ""), "")):
    fake = Programs(tmp_path, ["curl", "aws", "systemctl", "sleep"], [
        (["/api/token"], ["token"]),
        (["placement/region"], ["eu-central-1"]),
        (["meta-data/instance-id"], ["i-1"]),
        # What ends the script: its sleep fails, which it takes for its end.
        (["autoscaling/target-lifecycle-state"], list(targets)),
        (["/health"], list(health)),
        (["describe-auto-scaling-instances"], list(group)),
        (["sleep"], [""] * 20 + [(1, "")]),
    ])  # fmt: skip
    fake.run(LIFECYCLE, FLEET="fleet", LAUNCH_HOOK="up", TERMINATE_HOOK="down")
    return [" ".join(call) for call in fake.calls()]


def positions(calls, *words):
    return [next(index for index, call in enumerate(calls) if word in call) for word in words]


def test_an_appliance_drains_only_after_it_is_deregistered(tmp_path):
    calls = follow(tmp_path, ["InService", "Terminated"], ["InService", "InService", "Terminating", "Terminating:Wait"])
    stop, complete = positions(calls, "systemctl stop sluice.service", DOWN)
    asked = [index for index, call in enumerate(calls) if "describe-auto-scaling-instances" in call]
    # Once for the launch; then as often as it takes until the group waits for the hook.
    assert len(asked) == 4 and asked[-1] < stop < complete
    assert f"{DOWN} --instance-id i-1" in calls[complete]


def test_an_appliance_joins_when_it_is_healthy(tmp_path):
    calls = follow(tmp_path, ["InService"], ["Pending", "Pending:Wait"], health=[(7, ""), (22, ""), ""])
    complete = positions(calls, "--lifecycle-hook-name up")[0]
    # Asked anew in every round: twice in vain, and once for each answer of the group.
    assert sum("/health" in call for call in calls[:complete]) == 4
    assert sum("describe-auto-scaling-instances" in call for call in calls[:complete]) == 2
    assert not any("systemctl" in call for call in calls)


def test_an_appliance_that_never_was_healthy_may_go(tmp_path):
    calls = follow(tmp_path, ["InService"] * 3 + ["Terminated"], ["Terminating:Wait"], health=[(7, "")])
    stop, complete = positions(calls, "systemctl stop sluice.service", DOWN)
    assert stop < complete and not any("--lifecycle-hook-name up" in call for call in calls)


def test_an_appliance_whose_launch_is_called_off_may_go(tmp_path):
    calls = follow(tmp_path, ["InService"] * 3 + ["Terminated"], ["Pending"] * 2 + ["Terminating:Wait"], health=[""])
    assert positions(calls, DOWN) and not any("--lifecycle-hook-name up" in call for call in calls)


def test_an_appliance_keeps_what_it_was_told_when_the_metadata_is_silent(tmp_path):
    calls = follow(tmp_path, ["InService", (22, "")], ["Pending:Wait"], health=[(7, ""), ""])
    assert sum("--lifecycle-hook-name up" in call for call in calls) == 1


def test_an_appliance_of_the_warm_pool_is_ready_then_joins(tmp_path):
    calls = follow(tmp_path, ["Warmed:Stopped", "InService"], ["Warmed:Pending:Wait", "Pending:Wait"], health=[""])
    assert sum("--lifecycle-hook-name up" in call for call in calls) == 2


def test_the_lifecycle_script_is_clean():
    done = subprocess.run(["shellcheck", LIFECYCLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# --- what publishes the allowance counters --------------------------------------------------------


def test_allowance_counters_are_published_as_their_growth(tmp_path):
    script = tmp_path / "allowance"
    state = tmp_path / "state"
    text = (MODULE / "templates" / "allowance.sh.tftpl").read_text()
    for old, new in (("${fleet}", "fleet"), ("${namespace}", "Sluice"), ("/run/sluice-allowance/counters", str(state)), ("/sys/class/net/*", "/sys/class/net/lo")):
        assert old in text
        text = text.replace(old, new)
    script.write_text(text)
    script.chmod(0o755)
    counted = "NIC statistics:\n     {}\n     rx_bytes: 7\n".format
    kinds = "bw_in_allowance_exceeded: {}\n     pps_allowance_exceeded: {}".format
    fake = Programs(tmp_path, ["curl", "aws", "ethtool"], [
        (["/api/token"], ["token"]),
        (["placement/region"], ["eu-central-1"]),
        (["put-metric-data"], ["", (255, ""), ""]),
        (["ethtool -S lo"], [counted(kinds(10, 20)), counted(kinds(10, 25)), counted(kinds(11, 26)), counted(kinds(12, 3))]),
    ])  # fmt: skip
    codes = [fake.run(script).returncode for _ in range(4)]
    # The first run learns where the counters are; the third could not publish.
    assert codes == [0, 0, 255, 0]
    sent = [json.loads(call[-1]) for call in fake.calls() if "put-metric-data" in call]
    seen = [{tuple(d["Value"] for d in one["Dimensions"]): one["Value"] for one in data} for data in sent]
    assert seen == [
        {("fleet", "bw_in"): 0, ("fleet", "pps"): 5, ("fleet",): 5},
        {("fleet", "bw_in"): 1, ("fleet", "pps"): 1, ("fleet",): 2},
        # What was not published before comes now, and a counter that fell began anew.
        {("fleet", "bw_in"): 2, ("fleet", "pps"): 3, ("fleet",): 5},
    ]
    assert {one["MetricName"] for data in sent for one in data} == {"AllowanceExceeded"}


# --- the load test -------------------------------------------------------------------------------

REMOTE = ("ethtool -i", "ethtool -S", "sluice-gen search")
COUNTERS = "     {}_in_allowance_exceeded: {}\n     pps_allowance_exceeded: {}\n     conntrack_allowance_exceeded: 0\n"
RATE = {"rate_pps": 1234567.8, "rate_bps": 2.4e9, "generator_limited": False}
SEARCH = {
    "sizes": [
        {"size": "128", "ndr": RATE, "pdr": RATE, "trials": 9, "burst": 0, "violations": {}},
        {"size": "imix", "ndr": {**RATE, "generator_limited": True}, "trials": 9, "burst": 0, "violations": {}},
    ],
    # As long as a report of several sizes is: more than SSM gives back.
    "config": {"trials": [{"rate_pps": 1000.5 * number, "lost": number % 7} for number in range(800)]},
    "stopped": False,
}
LOAD_ARGUMENTS = (
    "--type", "c6in.large", "--generator-type", "c6in.8xlarge", *PACKAGE, "--tools", "s3://releases/sluice-tools.rpm",
    "--tools-sha256", "1" * 64, "--size", "128,imix",
)  # fmt: skip


def invocation(text, state="Success"):
    """SSM keeps the first 24,000 characters."""
    return json.dumps({"Status": state, "StandardOutputContent": text[:24_000], "StandardErrorContent": "it broke"})


def packed(report):
    return base64.b64encode(gzip.compress(json.dumps(report).encode())).decode()


def load_test(tmp_path, search=SEARCH, state="Success", cut=None):
    outputs = {"generator_id": {"value": "i-gen"}, "appliance_id": {"value": "i-app"}, "appliance_ip": {"value": "10.77.0.9"}}
    return Programs(tmp_path, ["terraform", "aws"], [
        (["output -json"], [json.dumps(outputs)]),
        (["describe-instance-information"], ["None\n", "Online\n"]),
        # Each command is known by a number of its kind.
        (["send-command", "ethtool -i"], ["details\n"]),
        (["send-command", "ethtool -S"], ["counters\n"]),
        (["send-command", "sluice-gen search"], ["search\n"]),
        (["send-command"], ["install\n"]),
        (["get-command-invocation", "details", "i-app"], [invocation("6.12.1\nsluice 1.0\n2.14.1g\n2\n")]),
        (["get-command-invocation", "counters", "i-app"], [invocation(COUNTERS.format("bw", 5, 70)), invocation(COUNTERS.format("bw", 5, 100))]),
        (["get-command-invocation", "counters", "i-gen"], [invocation(COUNTERS.format("bw", 1, 2))]),
        (["get-command-invocation", "search", "i-gen"], [(254, ""), invocation("", "InProgress"), invocation(packed(search) if cut is None else packed(search)[:cut], state)]),
        (["get-command-invocation"], [invocation("", "Pending"), invocation("ok")]),
    ])  # fmt: skip


def test_a_load_test_writes_its_row(tmp_path):
    fake = load_test(tmp_path)
    watched = fake.bin / "jq"
    watched.write_text('#!/bin/sh\ncase "$*" in *appliance_type*) jq() { /usr/bin/jq "$@" | tee "$HOME/variables"; };; *) exec /usr/bin/jq "$@";; esac\njq "$@"\n')
    watched.chmod(0o755)
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--out", tmp_path / "rows", "--yes", "--zone", "eu-central-1b")
    assert done.returncode == 0, done.stderr
    assert json.loads((fake.bin / "variables").read_text()) == {
        "region": "eu-central-1", "zone": "eu-central-1b", "appliance_type": "c6in.large", "generator_type": "c6in.8xlarge",
        "architecture": "x86_64", "packages": {
            "appliance": {"url": "https://example.com/sluice.rpm", "sha256": "0" * 64},
            "generator": {"url": "s3://releases/sluice-tools.rpm", "sha256": "1" * 64},
        },
    }  # fmt: skip
    row = json.loads((tmp_path / "rows/c6in.large.json").read_text())
    assert row["type"] == "c6in.large" and row["vcpus"] == 2 and row["kernel"] == "6.12.1" and row["ena_driver"] == "2.14.1g"
    assert row["sizes"] == SEARCH["sizes"]
    assert row["allowance_exceeded"]["appliance"] == {
        "bw_in_allowance_exceeded": 0, "pps_allowance_exceeded": 30, "conntrack_allowance_exceeded": 0
    }  # fmt: skip
    assert row["shaped"] is True and set(row["allowance_exceeded"]["generator"].values()) == {0}
    head, line, body = (tmp_path / "rows/c6in.large.md").read_text().splitlines()
    assert head.count("|") == line.count("|") == body.count("|")
    assert "| 1235 kpps, 2.4 Gbit/s | 1235 kpps, 2.4 Gbit/s (generator) | pps 30 | none (c6in.8xlarge) |" in body
    # In this order: build, wait, describe, counters, search, counters, remove.
    assert fake.summary(*STEPS, "output -json", *REMOTE) == [
        "init", "apply", "output -json", "ethtool -i", "ethtool -S", "ethtool -S", "sluice-gen search", "ethtool -S", "ethtool -S", "destroy",
    ]  # fmt: skip
    [search] = [call for call in fake.calls() if "send-command" in call and "sluice-gen search" in " ".join(call)]
    assert search[search.index("--instance-ids") + 1] == "i-gen"
    parameters = json.loads(search[search.index("--parameters") + 1])
    assert parameters["executionTimeout"] == [str(900 + 2 * 10 * 200)]
    [script] = parameters["commands"]
    assert "--target 10.77.0.9 --size 128,imix --flows 1000" in script and "--json /tmp/search.json" in script


@pytest.mark.parametrize("size, trial, seconds", [
    ("128,1500,imix", "60s", 36_900), ("imix", "1m", 12_900), ("128", "500ms", 1100), ("128,512", "099s", 40_500),
    ("128", "60m", 172_800),
])  # fmt: skip
def test_a_load_test_waits_as_long_as_its_trials_take(tmp_path, size, trial, seconds):
    fake = load_test(tmp_path)
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--size", size, "--trial", trial, "--out", tmp_path, "--yes")
    assert done.returncode == 0, done.stderr
    [search] = [call for call in fake.calls() if "send-command" in call and "sluice-gen search" in " ".join(call)]
    assert json.loads(search[search.index("--parameters") + 1])["executionTimeout"] == [str(seconds)]


def test_a_report_cut_short_is_no_row(tmp_path):
    fake = load_test(tmp_path, cut=400)
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--out", tmp_path / "rows", "--yes")
    assert done.returncode == 71 and "did not come whole" in done.stderr
    assert fake.summary(*STEPS)[-1] == "destroy" and not (tmp_path / "rows").exists()


def test_the_load_test_packs_the_report_of_a_finding(tmp_path):
    """The script as the generator runs it: exit 1 is a finding, anything else has no report."""
    assert len(json.dumps(SEARCH)) > 24_000 > len(packed(SEARCH))
    fake = load_test(tmp_path)
    fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--out", tmp_path, "--yes")
    [search] = [call for call in fake.calls() if "send-command" in call and "sluice-gen search" in " ".join(call)]
    script = json.loads(search[search.index("--parameters") + 1])["commands"][0].replace("/tmp/search", f"{tmp_path}/search")
    generator = tmp_path / "bin/sluice-gen"
    for code, works in ((0, True), (1, True), (71, False)):
        generator.write_text(f'#!/bin/sh\necho noise\nwhile [ "$1" != --json ]; do shift; done\necho "{{}}" >"$2"\nexit {code}\n')
        generator.chmod(0o755)
        done = subprocess.run(["sh", "-c", script], env={"PATH": f"{generator.parent}:/usr/bin:/bin"}, capture_output=True, text=True)
        assert (done.returncode == 0) == works
        assert not works or gzip.decompress(base64.b64decode(done.stdout)) == b"{}\n"


def test_a_failed_load_test_leaves_no_instance_and_no_row(tmp_path):
    fake = load_test(tmp_path, state="Failed")
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--out", tmp_path / "rows", "--yes")
    assert done.returncode == 71 and "ended as Failed" in done.stderr and "it broke" in done.stderr
    assert fake.summary(*STEPS)[-1] == "destroy"
    assert not (tmp_path / "rows").exists()


def test_violations_are_in_the_row_and_instances_may_stay(tmp_path):
    wrong = {**SEARCH, "sizes": [{"size": "128", "trials": 1, "burst": 0, "violations": {"payload": 3}}]}
    fake = load_test(tmp_path, search=wrong)
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--out", tmp_path, "--yes", "--keep")
    assert done.returncode == 0 and "--destroy" in done.stderr and "destroy" not in fake.summary(*STEPS)
    assert "| violations |" in (tmp_path / "c6in.large.md").read_text()
    assert fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--destroy").returncode == 0
    assert fake.summary(*STEPS)[-1] == "destroy"


def test_a_load_test_asks_first(tmp_path):
    fake = load_test(tmp_path)
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, answer="no\n")
    assert done.returncode == 1 and "cost money" in done.stderr and not fake.calls()


def test_a_dry_run_says_all_and_does_nothing(tmp_path):
    fake = load_test(tmp_path)
    done = fake.run(LOAD_TEST, *LOAD_ARGUMENTS, "--dry-run", "--out", tmp_path / "rows")
    assert done.returncode == 0, done.stderr
    assert not fake.calls() and not (tmp_path / "rows").exists()
    assert matches(done.stdout.splitlines(), (*STEPS, *REMOTE, "c6in.large.json")) == [
        "init", "apply", "ethtool -i", "ethtool -S", "ethtool -S", "sluice-gen search", "ethtool -S", "ethtool -S", "c6in.large.json", "destroy",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [["--type", "c6in.large"], [*LOAD_ARGUMENTS, "--size", "128; reboot"], [*LOAD_ARGUMENTS, "--trial", "soon"]])
def test_a_load_test_refuses_what_it_does_not_know(tmp_path, wrong):
    fake = load_test(tmp_path)
    done = fake.run(LOAD_TEST, *wrong)
    assert done.returncode == 64 and not fake.calls()
