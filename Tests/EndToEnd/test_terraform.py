"""The Terraform below deploy/: judged by an HCL parser, by the AWS provider's schema, by checkov and, where
it is installed, by Terraform itself with a stand-in for the provider; held against the blog's demo."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hcl import DEPLOY, SCHEMAS, Root, faults, schema, strings
from lab import BIN, ROOT

FLEET = DEPLOY / "terraform" / "modules" / "appliance-fleet"
DEMO = DEPLOY / "terraform" / "demo"
LOAD_TEST = DEPLOY / "load-test"
FOLDERS = (FLEET, DEMO, LOAD_TEST)
VERSIONS = (5, 6)
README = DEPLOY / "README.md"
TERRAFORM = shutil.which("terraform") or shutil.which("tofu")
needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="neither terraform nor tofu is installed")

# The blog's demo, as its Terraform had it.
ANYWHERE = "0.0.0.0/0"
VPC = "192.168.0.0/16"
CIDRS = {
    "a": "192.168.1.0/24",
    "b": "192.168.2.0/24",
    "c": "192.168.3.0/24",
    "endpoint": "192.168.10.0/24",
    "appliances": "192.168.20.0/24",
    "endpoint_public": "192.168.100.0/24",
}
ROUTES = {
    ("edge", CIDRS["c"], "public endpoint"),
    ("a", CIDRS["b"], "local endpoint"),
    ("a", ANYWHERE, "internet gateway"),
    ("b", CIDRS["a"], "local endpoint"),
    ("b", ANYWHERE, "internet gateway"),
    ("c", ANYWHERE, "public endpoint"),
    ("endpoint_public", ANYWHERE, "internet gateway"),
    ("appliances", ANYWHERE, "internet gateway"),
}
RULES = {
    *((host, "in", "tcp", "22", ANYWHERE) for host in ("a, b", "c", "appliance")),
    *((host, "out", "all", "all", ANYWHERE) for host in ("a, b", "c", "appliance")),
    *((host, "in", "icmp", "all", VPC) for host in ("a, b", "c")),
    ("a, b", "in", "udp", "3000", CIDRS["a"]),
    ("a, b", "in", "udp", "3000", CIDRS["b"]),
    ("c", "in", "udp", "3000", ANYWHERE),
    ("appliance", "in", "udp", "6081", CIDRS["appliances"]),
    ("appliance", "in", "tcp", "8080", CIDRS["appliances"]),
}


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def root(request):
    return Root(request.param)


def test_variables_are_typed_described_and_used(root):
    used = {names[0] for first, names in root.references() if first == "var"}
    for name, body in root.variables.items():
        assert body.get("type") and body.get("description", [""])[0].endswith((".", ")")), name
        own = json.dumps(body.get("validation", []))
        text = "".join(path.read_text() for path in root.folder.glob("*.tf"))
        assert name in used and text.count(f"var.{name}") > own.count(f"var.{name}"), f"{name} is not used"


def test_outputs_are_described(root):
    for name, body in root.outputs.items():
        assert body["description"][0].endswith("."), name


def test_every_reference_resolves(root):
    seen = 0
    for first, names in root.references():
        seen += 1
        if first == "var":
            assert names[0] in root.variables, names
        elif first == "local":
            assert names[0] in root.locals, names
        elif first == "module":
            assert names[0] in root.modules and names[1] in Root(source(root, names[0])).outputs, names
        else:
            blocks = root.data if first == "data" else root.resources
            kind, name, *rest = names if first == "data" else (first, *names)
            assert (kind, name) in blocks, f"{first} {names}"
            for version in VERSIONS if rest else ():
                known = schema(version)["data" if first == "data" else "resources"][kind]
                assert rest[0] in known["attributes"] or rest[0] in known["blocks"], f"{kind}.{name}.{rest[0]}"
    assert seen > 20


def source(root, module):
    return (root.folder / root.modules[module]["source"][0]).resolve()


def test_modules_are_called_with_what_they_take():
    demo = Root(DEMO)
    assert demo.modules
    for name, body in demo.modules.items():
        variables = Root(source(demo, name)).variables
        given = set(body) - {"source", "depends_on", "providers", "version", "__start_line__", "__end_line__"}
        assert given <= set(variables), given - set(variables)
        missing = {key for key, variable in variables.items() if "default" not in variable} - given
        assert not missing, missing


@pytest.mark.parametrize("version", VERSIONS)
def test_the_provider_knows_every_argument(root, version):
    known = schema(version)
    found = []
    for section, blocks in (("resources", root.resources), ("data", root.data)):
        for (kind, name), body in blocks.items():
            found += faults(body, known[section][kind], f"{kind}.{name}")
    assert not found


def test_provider_versions_are_those_that_are_checked(root):
    text = (root.folder / "main.tf" if root.folder == LOAD_TEST else root.folder / "versions.tf").read_text()
    assert re.search(r'source  = "hashicorp/aws"\n +version = ">= 5.80, < 7.0"', text)
    assert [schema(version)["version"].split(".")[0] for version in VERSIONS] == ["5", "6"]


def test_nothing_secret_is_written_down(root):
    for value in strings(list(root.files.values())):
        assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|aws_secret", value), value


# --- the demo is the blog's ----------------------------------------------------------------------


def test_the_demo_has_the_blogs_subnets_and_tables():
    demo = Root(DEMO)
    assert demo.value("${local.cidrs}") == CIDRS and demo.value("${local.vpc_cidr}") == VPC
    assert demo.resources["aws_vpc", "this"]["cidr_block"] == ["${local.vpc_cidr}"]
    for kind in ("aws_subnet", "aws_route_table", "aws_route_table_association"):
        assert demo.resources[kind, "this"]["for_each"] == ["${local.cidrs}"]
    edge = demo.resources["aws_route_table_association", "edge"]
    assert edge["gateway_id"] == ["${aws_internet_gateway.this.id}"]
    assert edge["route_table_id"] == ["${aws_route_table.edge.id}"]
    for name, subnet in (("local", "endpoint"), ("public", "endpoint_public")):
        endpoint = demo.resources["aws_vpc_endpoint", name]
        assert endpoint["vpc_endpoint_type"] == ["GatewayLoadBalancer"]
        assert re.findall(r"aws_subnet\.this\[\W*(\w+)\W*\]", endpoint["subnet_ids"][0][0]) == [subnet]
    fleet = json.dumps(demo.modules["fleet"]["subnets"])
    assert "appliances" in fleet and "endpoint" not in fleet


def test_the_demos_routes_are_the_blogs():
    demo = Root(DEMO)
    routes = []
    for (kind, name), body in demo.resources.items():
        if kind != "aws_route":
            continue
        [table] = re.findall(r"aws_route_table\.(?:this\[\W*(\w+)\W*\]|edge)", body["route_table_id"][0])
        if "gateway_id" in body:
            assert body["gateway_id"] == ["${aws_internet_gateway.this.id}"], name
            to = "internet gateway"
        else:
            to = re.fullmatch(r"\$\{aws_vpc_endpoint\.(\w+)\.id\}", body["vpc_endpoint_id"][0]).group(1) + " endpoint"
        routes.append((table or "edge", demo.value(body["destination_cidr_block"][0]), to))
    assert len(routes) == len(set(routes))
    assert set(routes) == ROUTES


def rules(root, groups, subnets=None):
    """(who, in or out, protocol, ports, peer) of a folder's security group rules."""
    found = set()
    for (kind, _), body in root.resources.items():
        direction = {"aws_vpc_security_group_ingress_rule": "in", "aws_vpc_security_group_egress_rule": "out"}.get(kind)
        if direction is None:
            continue
        group = re.search(r"aws_security_group\.(\w+)\.id", body["security_group_id"][0]).group(1)
        if body.get("for_each") == ["${var.subnets}"]:
            peers = subnets
        elif "each.key]" in body["cidr_ipv4"][0]:
            peers = [root.locals["cidrs"][key] for key in root.instances(body)]
        elif "each." in body["cidr_ipv4"][0]:
            peers = root.instances(body)
        else:
            peers = [root.value(body["cidr_ipv4"][0])]
        protocol = body["ip_protocol"][0]
        low, high = body["from_port"][0], body["to_port"][0]
        if "health_check.port" in str(low):
            low = high = 8080
        assert low == high, body
        every = low in (-1, "${-1}")
        for peer in peers:
            found.add((groups[group], direction, protocol, "all" if every else str(low), peer))
    return found


def exceptions():
    """The table of deploy/README.md: rule => (in the blog's demo, here, reason)."""
    section = README.read_text().split("### Security rules that differ")[1].split("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {tuple(row[:5]): row[5:] for row in rows[1:]}


def test_the_demos_security_rules_are_the_blogs_but_for_the_listed():
    ours = rules(Root(DEMO), {"private_hosts": "a, b", "public_host": "c"})
    ours |= rules(Root(FLEET), {"appliance": "appliance"}, subnets=[CIDRS["appliances"]])
    listed = exceptions()
    assert ours ^ RULES == set(listed)
    for rule, (original, here, reason) in listed.items():
        assert original == ("yes" if rule in RULES else "no") and here == ("yes" if rule in ours else "no"), rule
        assert len(reason) > 20, rule


def test_the_readme_names_a_counterpart_for_each_of_the_43_resources():
    section = README.read_text().split("### Each resource of the original")[1].split("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if line.startswith("| ")][1:]
    assert sum(int(row[1]) for row in rows) == 43
    ours = {kind for folder in (DEMO, FLEET) for kind, _ in Root(folder).resources}
    for row in rows:
        named = set(re.findall(r"`(aws_\w+)`", row[2]))
        assert named <= ours, named - ours
        assert named or "none" in row[2], row
        assert row[3], row


# --- judged by others ----------------------------------------------------------------------------


def test_checkov_finds_nothing_unexplained():
    done = subprocess.run(
        [Path(sys.executable).with_name("checkov"), "--framework", "terraform", "--skip-download", "--compact",
         "--output", "json", "--directory", DEPLOY],
        capture_output=True, text=True, timeout=250,
        env={**os.environ, "LOG_LEVEL": "ERROR", "CKV_IGNORE_HIDDEN_DIRECTORIES": "true"},
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert not [(check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]]
    assert not report["results"]["parsing_errors"]
    assert report["summary"]["passed"] > 150
    skipped = report["results"]["skipped_checks"]
    assert all(len(check["check_result"]["suppress_comment"]) > 10 for check in skipped)
    # A skip that skips nothing any more would hide the next finding.
    written = {
        (path.name, check) for folder in FOLDERS for path in folder.glob("*.tf")
        for check in re.findall(r"#checkov:skip=(\w+):", path.read_text())
    }  # fmt: skip
    used = {(Path(check["file_path"]).name, check["check_id"]) for check in skipped}
    # A module's own skips are written where it is called.
    assert written - used <= {("appliance.tf", "CKV_AWS_150")}


class Workplace:
    """A copy of deploy/, and a Terraform that finds the stand-in for the provider."""

    def __init__(self, path, version):
        self.deploy = path / "deploy"
        shutil.copytree(DEPLOY, self.deploy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        number = schema(version)["version"]
        mirror = path / "mirror"
        for registry in ("registry.terraform.io", "registry.opentofu.org"):
            provider = mirror / registry / "hashicorp/aws" / number / platform() / f"terraform-provider-aws_v{number}"
            provider.parent.mkdir(parents=True)
            provider.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{SCHEMAS}/serve.py" "{SCHEMAS}/aws-{version}.json"\n')
            provider.chmod(0o755)
        configuration = path / "terraform.rc"
        configuration.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{mirror}" }}\n}}\n')
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))},
            "TF_CLI_CONFIG_FILE": str(configuration),
            "TF_DISABLE_PLUGIN_TLS": "1",
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def terraform(self, folder, *arguments):
        folder = self.deploy / folder.relative_to(DEPLOY)
        if not (folder / ".terraform").exists():
            self.run(folder, "init", "-backend=false", "-input=false", "-no-color")
        return self.run(folder, *arguments, "-no-color", check=False)

    def run(self, folder, *arguments, check=True):
        done = subprocess.run(
            [TERRAFORM, *arguments], cwd=folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done


def platform():
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    return f"{os.uname().sysname.lower()}_{machine}"


@pytest.fixture(scope="module")
def workplaces(tmp_path_factory):
    return {version: Workplace(tmp_path_factory.mktemp(f"terraform-{version}"), version) for version in VERSIONS}


@needs_terraform
def test_files_are_formatted():
    done = subprocess.run([TERRAFORM, "fmt", "-check", "-recursive", "-diff", DEPLOY], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# With the oldest major version; the newest is asked by the run of the tests below.
@needs_terraform
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_terraform_validates(workplaces, folder):
    report = json.loads(workplaces[5].terraform(folder, "validate", "-json").stdout)
    assert report["valid"] and not report["diagnostics"], report


@pytest.fixture(scope="module")
def tested(workplaces):
    """What a folder's own tests say, one JSON object a line; each folder is run once."""
    done = {}

    def run(folder):
        if folder not in done:
            text = workplaces[6].terraform(folder, "test", "-json", "-verbose").stdout
            done[folder] = [json.loads(line) for line in text.splitlines()]
        return done[folder]

    return run


@needs_terraform
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_terraforms_own_tests_pass(tested, folder):
    said = tested(folder)
    [summary] = [line["test_summary"] for line in said if line["type"] == "test_summary"]
    complaints = [line.get("diagnostic", line["@message"]) for line in said if line["@level"] == "error"]
    assert summary["status"] == "pass" and summary["passed"] >= 2 and not complaints, complaints


def resources(said):
    """Every resource of the first run of a folder's tests: (kind, name, key) => values."""
    [root, *_] = [line["test_state"]["root_module"] for line in said if line["type"] == "test_state"]
    return {
        (resource["type"], resource["name"], resource.get("index")): resource["values"]
        for module in [root, *root.get("child_modules", [])]
        for resource in module["resources"]
    }


@pytest.fixture(scope="module")
def made(tested):
    return resources(tested(DEMO))


@pytest.fixture(scope="module")
def files(made, tmp_path_factory):
    """What user data writes on an appliance of the demo, by the files' names."""
    text = gzip.decompress(base64.b64decode(made["aws_launch_template", "appliance", None]["user_data"])).decode()
    assert text.startswith("#cloud-config\n") and len(text) < 16384
    folder = tmp_path_factory.mktemp("user-data")
    found = {}
    data = yaml.safe_load(text)
    for entry in data["write_files"]:
        found[entry["path"]] = folder / entry["path"].strip("/").replace("/", "-")
        found[entry["path"]].write_text(entry["content"])
        assert (entry["permissions"] == "0755") == ("/sbin/" in entry["path"])
    assert all(command[0] in found for command in data["runcmd"])
    return found


@needs_terraform
def test_sluice_accepts_the_configuration_of_the_demo(files):
    done = subprocess.run([BIN / "sluice", "check", files["/etc/sluice/sluice.yaml"]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load(files["/etc/sluice/sluice.yaml"].read_text())
    assert set(written) == {"policy", "health", "drain"}
    assert written["policy"] == yaml.safe_load((DEPLOY / "examples/blog.yaml").read_text())["policy"]
    stop = int(re.search(r"TimeoutStopSec=(\d+)", files["/etc/systemd/system/sluice.service.d/drain.conf"].read_text()).group(1))
    assert stop > int(written["drain"]["timeout"].rstrip("s"))


@needs_terraform
def test_what_user_data_installs_is_sound(files):
    scripts = [file for path, file in files.items() if "/sbin/" in path]
    assert len(scripts) == 2
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    scrape = files["/opt/aws/amazon-cloudwatch-agent/etc/prometheus.yaml"]
    done = subprocess.run(["promtool", "check", "config", scrape], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    install = files["/usr/local/sbin/sluice-install"].read_text()
    assert install.index("sha256sum --check") < install.index("dnf install")


@needs_terraform
def test_the_units_of_user_data_are_in_a_sandbox(files):
    units = [file for path, file in files.items() if path.endswith(".service")]
    assert len(units) == 2
    for unit in units:
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", unit]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    log = files["/etc/systemd/system/sluice-log.service"].read_text()
    assert "--cursor-file=/var/lib/sluice-log/" in log and "StateDirectory=sluice-log" in log
    assert not re.search(r"^ExecStart=.*--(follow|boot)", log, re.M), "a restart would repeat the boot's log"


@needs_terraform
@pytest.mark.parametrize("role", ["appliance", "generator"])
def test_what_the_load_test_installs_is_sound(tested, tmp_path, role):
    text = resources(tested(LOAD_TEST))["aws_instance", "this", role]["user_data"]
    script = tmp_path / "user-data"
    script.write_text(text)
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert text.index("sha256sum --check") < text.index("dnf install -y \"$file\"")
    configuration = re.search(r"<<'END'\n(.*?)^END$", text, re.S | re.M)
    assert (configuration is not None) == (role == "appliance")
    if configuration:
        (tmp_path / "sluice.yaml").write_text(configuration.group(1))
        assert subprocess.run([BIN / "sluice", "check", tmp_path / "sluice.yaml"], capture_output=True).returncode == 0


@needs_terraform
def test_every_alarm_has_a_metric_that_reaches_cloudwatch(made, files):
    agent = json.loads(files["/opt/aws/amazon-cloudwatch-agent/etc/sluice.json"].read_text())
    processor = agent["logs"]["metrics_collected"]["prometheus"]["emf_processor"]
    source = "".join(path.read_text() for path in (ROOT / "Sources").rglob("*.swift"))
    alarms = [values for (kind, _, _), values in made.items() if kind == "aws_cloudwatch_metric_alarm"]
    names = {alarm["metric_name"] for alarm in alarms}
    assert names == {
        "HealthyHostCount", "UnHealthyHostCount",
        "sluice_packets_dropped_total", "sluice_kernel_drops_total", "AllowanceExceeded",
    }  # fmt: skip
    for alarm in alarms:
        if alarm["metric_name"] == "AllowanceExceeded":
            assert '"AllowanceExceeded' in files["/usr/local/sbin/sluice-allowance"].read_text().replace("\\", "")
            assert alarm["namespace"] == "Sluice" and set(alarm["dimensions"]) == {"fleet"}
            continue
        if not alarm["metric_name"].startswith("sluice_"):
            assert alarm["namespace"] == "AWS/GatewayELB" and set(alarm["dimensions"]) == {"LoadBalancer", "TargetGroup"}
            continue
        assert alarm["namespace"] == processor["metric_namespace"]
        assert alarm["metric_name"].removeprefix("sluice_").removesuffix("_total") in source
        published = [
            sorted(dimensions)
            for declaration in processor["metric_declaration"]
            if any(re.search(selector, alarm["metric_name"]) for selector in declaration["metric_selectors"])
            for dimensions in declaration["dimensions"]
        ]
        assert sorted(alarm["dimensions"]) in published, alarm["alarm_name"]


@needs_terraform
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_names_and_descriptions_are_such_as_aws_takes(tested, folder):
    """Rules that AWS states outside the provider's schema: an apply would fail late."""
    seen = 0
    for (kind, name, _), values in resources(tested(folder)).items():
        if kind.startswith(("aws_security_group", "aws_vpc_security_group")):
            seen += 1
            assert re.fullmatch(r"[\w .:/()#,@\[\]+=&;{}!$*-]{1,255}", values["description"], re.A), (name, values["description"])
        if kind == "aws_iam_role":
            assert len(values["name_prefix"]) <= 38
        if kind in ("aws_lb", "aws_lb_target_group"):
            assert len(values["name"]) <= 32
    assert seen >= 4


@needs_terraform
def test_the_demo_permits_its_account(made):
    """Not whoever calls: EC2 refuses the ARN of a session."""
    allowed = made["aws_vpc_endpoint_service", "this", None]["allowed_principals"]
    assert allowed == ["arn:aws:iam::123456789012:root"]


@needs_terraform
def test_an_appliance_may_do_what_it_must_and_no_more(made):
    allowed = {}
    for (kind, name, _), values in made.items():
        if kind == "aws_iam_role_policy" and name != "host_ssm":
            for statement in json.loads(values["policy"])["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                allowed.update({action: statement for action in actions})
    assert not [action for action in allowed if "*" in action]
    assert {action for action in allowed if not action.startswith(("ssm:", "ssmmessages:", "ec2messages:"))} == {
        "autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat",
        "autoscaling:DescribeAutoScalingInstances", "cloudwatch:PutMetricData",
        "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents",
    }  # fmt: skip
    group = made["aws_autoscaling_group", "this", None]["name"]
    assert allowed["autoscaling:CompleteLifecycleAction"]["Resource"].endswith(f"autoScalingGroupName/{group}")
    assert allowed["cloudwatch:PutMetricData"]["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Sluice"}}


@needs_terraform
@pytest.mark.parametrize(
    "right, wrong, complaint",
    [
        ("unhealthy_threshold = ", "unhealthy_treshold = ", "Unsupported argument"),
        ("target_failover {", "target_fail_over {", "Unsupported block type"),
        ("aws_lb.this.arn\n", "aws_lb.this.arm\n", "Unsupported attribute"),
        ("port                 = 6081", 'port                 = "geneve"', "a number is required"),
    ],
)
def test_the_stand_in_lets_terraform_find_faults(workplaces, right, wrong, complaint):
    workplace = workplaces[6]
    file = workplace.deploy / FLEET.relative_to(DEPLOY) / "load_balancer.tf"
    text = file.read_text()
    assert right in text
    try:
        file.write_text(text.replace(right, wrong, 1))
        done = workplace.terraform(FLEET, "validate")
        assert done.returncode != 0 and complaint in done.stderr, done.stderr
    finally:
        file.write_text(text)
