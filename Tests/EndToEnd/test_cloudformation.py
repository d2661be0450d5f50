"""deploy/cloudformation, judged by cfn-lint and checkov and deployed against a mocked AWS (moto).

moto's CloudFormation makes the load balancer (told to mind the type: it knows application load
balancers only), target group, listener, security group, role, profile, launch template, endpoints and
Auto Scaling group. What it leaves out goes through the service's own API with the same properties, so
that botocore checks each name and type, and moto keeps the state: attributes of load balancer, target
group and listener, egress rules, endpoint service and permissions, lifecycle hook, warm pool, scaling
policy, alarms. What moto does not keep at all is asserted on the
template: creation and update policy, the rules on parameters, default warm-up, reuse policy of the
warm pool.
"""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from cloudformation import Template, load
from lab import ROOT

TEMPLATE = ROOT / "deploy" / "cloudformation" / "appliance-fleet.yaml"
SCRIPTS = Path(sys.executable).parent
REGION = "eu-central-1"
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")
RELEASE = {"ReleaseUrl": "https://example.com/sluice-1.0.0-1.x86_64.rpm", "ReleaseSha256": "ab" * 32}
CIDRS = ["10.0.20.0/24", "10.0.21.0/24", "10.0.22.0/24"]


@pytest.fixture(scope="module")
def aws():
    """A mocked account; nothing leaves the process."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION=REGION)
    import boto3
    from moto import mock_aws

    with mock_aws():
        yield lambda service: boto3.client(service, region_name=REGION)


def make_load_balancers_of_any_type(monkeypatch):
    from moto.elbv2.models import FakeLoadBalancer, elbv2_backends

    def create(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        told = cloudformation_json["Properties"]
        return elbv2_backends[account_id][region_name].create_load_balancer(
            resource_name, told.get("SecurityGroups"), told["Subnets"], loadbalancer_type=told["Type"])

    monkeypatch.setattr(FakeLoadBalancer, "create_from_cloudformation_json", classmethod(create))


@pytest.fixture(scope="module")
def network(aws):
    ec2 = aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
        for cidr, zone in zip(CIDRS, "abc")
    ]
    return vpc, subnets


@pytest.fixture(scope="module")
def parameters(network):
    vpc, subnets = network
    return {
        "VpcId": vpc, "SubnetIds": ",".join(subnets), "GatewayCidr1": CIDRS[0],
        "GatewayCidr2": CIDRS[1], "GatewayCidr3": CIDRS[2],
        "Failover": "rebalance", "DeregistrationDelay": "120", "CrossZone": "true", "WarmPoolSize": "1",
        "AcceptanceRequired": "false", "AllowedPrincipals": "arn:aws:iam::111122223333:root",
        "EndpointVpcId": vpc, "EndpointSubnetId1": subnets[0],
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms", **RELEASE,
    }


@pytest.fixture(scope="module")
def stack(aws, parameters):
    """The deployed stack: logical id → physical id."""
    cloudformation = aws("cloudformation")
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_load_balancers_of_any_type(monkeypatch)
        cloudformation.create_stack(
            StackName="sluice-test", TemplateBody=TEMPLATE.read_text(), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()])
    (described,) = cloudformation.describe_stacks(StackName="sluice-test")["Stacks"]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    resources = cloudformation.list_stack_resources(StackName="sluice-test")["StackResourceSummaries"]
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}


@pytest.fixture(scope="module")
def template(stack, parameters):
    """The template, resolved as far as moto made its resources."""
    resolved = Template(TEMPLATE, parameters)
    resolved.known.update(stack, Fleet="sluice")
    resolved.known.update({
        "EndpointService": "vpce-svc-0123456789abcdef0",
        ("LoadBalancer", "LoadBalancerFullName"): "gwy/sluice/0123456789abcdef",
        ("TargetGroup", "TargetGroupFullName"): "targetgroup/sluice/0123456789abcdef",
        ("InstanceProfile", "Arn"): "arn:aws:iam::123456789012:instance-profile/p",
        ("LaunchTemplate", "LatestVersionNumber"): "1",
    })
    return resolved


def by_key(attributes):
    return {one["Key"]: one["Value"] for one in attributes}


# ---- The judges.


def test_cfn_lint_finds_nothing():
    run = subprocess.run(
        [SCRIPTS / "cfn-lint", "--include-checks", "I", "--", TEMPLATE], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


def test_checkov_finds_nothing_unexplained():
    """In a network namespace without a network: it would ask a server for its guidelines."""
    run = subprocess.run(
        ["unshare", "--net", SCRIPTS / "checkov", "-f", TEMPLATE, "--framework", "cloudformation",
         "--skip-download", "-o", "json"], capture_output=True, text=True)
    report = json.loads(run.stdout)
    assert report["summary"]["passed"] > 10, report["summary"]
    assert [f["check_id"] for f in report["results"]["failed_checks"]] == []
    for skipped in report["results"]["skipped_checks"]:
        assert len(skipped["check_result"]["suppress_comment"]) > 20, skipped


def test_every_parameter_is_typed_described_and_bounded():
    text = load(TEMPLATE)
    for name, one in text["Parameters"].items():
        assert one["Description"].endswith("."), name
        if one["Type"] == "Number":
            assert {"MinValue", "MaxValue"} <= set(one), name
        if one["Type"] == "String":
            assert {"AllowedPattern", "AllowedValues", "MaxLength"} & set(one), name
        default, pattern = one.get("Default"), one.get("AllowedPattern")
        if default is not None and pattern:
            assert re.fullmatch(pattern, str(default)), name
    groups = text["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(p for g in groups for p in g["Parameters"]) == sorted(text["Parameters"])


def test_the_default_configuration_is_a_valid_one(tmp_path):
    config = load(TEMPLATE)["Parameters"]["Config"]["Default"]
    schema = json.loads((ROOT / "deploy" / "schema" / "sluice.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(config), schema)


# ---- Deployed.


def test_only_geneve_health_and_https_pass_the_security_group(aws, stack, template):
    ec2 = aws("ec2")
    (group,) = ec2.describe_security_groups(GroupIds=[stack["SecurityGroup"]])["SecurityGroups"]

    def rules(permissions):
        return sorted(
            (p["IpProtocol"], p["FromPort"], p["ToPort"], r["CidrIp"])
            for p in permissions for r in p["IpRanges"])

    assert rules(group["IpPermissions"]) == sorted(
        (protocol, port, port, cidr)
        for protocol, port in (("udp", 6081), ("tcp", 8080)) for cidr in CIDRS)
    # moto's CloudFormation reads no egress rules: by the API, as CloudFormation does it.
    told = template.only("AWS::EC2::SecurityGroup")
    ec2.revoke_security_group_egress(GroupId=stack["SecurityGroup"], IpPermissions=group["IpPermissionsEgress"])
    ec2.authorize_security_group_egress(GroupId=stack["SecurityGroup"], IpPermissions=[
        {**{key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort")},
         "IpRanges": [{"CidrIp": rule["CidrIp"], "Description": rule["Description"]}]}
        for rule in told["SecurityGroupEgress"]])
    (group,) = ec2.describe_security_groups(GroupIds=[stack["SecurityGroup"]])["SecurityGroups"]
    geneve_out = [("udp", 6081, 6081, cidr) for cidr in CIDRS]
    assert rules(group["IpPermissionsEgress"]) == sorted([*geneve_out, ("tcp", 443, 443, "0.0.0.0/0")])
    for rule in told["SecurityGroupIngress"] + told["SecurityGroupEgress"]:
        assert rule["Description"], rule


def test_the_role_may_do_four_things(aws, stack, template):
    iam = aws("iam")
    role = stack["Role"]
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    assert [s["Principal"] for s in trust["Statement"]] == [{"Service": "ec2.amazonaws.com"}]
    managed = template.only("AWS::IAM::Role")["ManagedPolicyArns"]  # moto has none of AWS's own
    assert managed == ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["fleet"]
    # Once more by the API, where moto checks what a policy may say.
    (told,) = template.only("AWS::IAM::Role")["Policies"]
    iam.put_role_policy(
        RoleName=role, PolicyName="fleet", PolicyDocument=json.dumps(told["PolicyDocument"]))
    document = iam.get_role_policy(RoleName=role, PolicyName="fleet")["PolicyDocument"]
    allowed = {s["Sid"]: s for s in document["Statement"]}
    assert set(allowed) == {"FinishOwnLifecycleAction", "AskForOwnState", "PublishFigures", "ReportToTheStack"}
    assert allowed["FinishOwnLifecycleAction"]["Action"] == [
        "autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
    assert allowed["FinishOwnLifecycleAction"]["Resource"].endswith(":autoScalingGroupName/sluice")
    assert allowed["AskForOwnState"]["Action"] == "autoscaling:DescribeAutoScalingInstances"
    assert allowed["PublishFigures"]["Action"] == "cloudwatch:PutMetricData"
    assert allowed["PublishFigures"]["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": "Sluice"}}
    assert allowed["ReportToTheStack"]["Action"] == "cloudformation:SignalResource"
    assert allowed["ReportToTheStack"]["Resource"].endswith(":stack/sluice-test/*")
    for statement in document["Statement"]:
        # Asking knows neither.
        free = statement["Resource"] == "*" and "Condition" not in statement
        assert free == (statement["Sid"] == "AskForOwnState"), statement


def test_the_launch_template_is_closed_and_encrypted(aws, stack):
    (version,) = aws("ec2").describe_launch_template_versions(
        LaunchTemplateId=stack["LaunchTemplate"])["LaunchTemplateVersions"]
    data = version["LaunchTemplateData"]
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert data["ImageId"].startswith("ami-")
    assert data["InstanceType"] == "c6in.xlarge"
    assert "KeyName" not in data
    (interface,) = data["NetworkInterfaces"]
    assert interface["Groups"] == [stack["SecurityGroup"]]
    assert interface["AssociatePublicIpAddress"] is False
    (mapping,) = data["BlockDeviceMappings"]
    assert (mapping["Ebs"]["Encrypted"], mapping["Ebs"]["VolumeType"]) == (True, "gp3")


def test_the_user_data_is_the_cloud_init_file(aws, stack, template):
    sub = load(TEMPLATE)["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]
    text, own = sub["Fn::Base64"]["Fn::Sub"]
    assert text == (ROOT / "deploy" / "cloud-init" / "al2023.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= set(own) | set(template.parameters)
    (version,) = aws("ec2").describe_launch_template_versions(
        LaunchTemplateId=stack["LaunchTemplate"])["LaunchTemplateVersions"]
    deployed = base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()
    assert deployed == base64.b64decode(template.only("AWS::EC2::LaunchTemplate")[
        "LaunchTemplateData"]["UserData"]).decode()
    assert len(deployed) < 16384
    files = {one["path"]: one for one in yaml.safe_load(deployed)["write_files"]}
    config = base64.b64decode(files["/etc/sluice/sluice.yaml"]["content"]).decode()
    assert config == template.parameters["Config"]
    assert files["/etc/sluice/fleet.env"]["content"] == (
        "FLEET=sluice\nLAUNCH_HOOK=launch\nTERMINATE_HOOK=drain\nDEREGISTRATION_DELAY=120\n")
    assert RELEASE["ReleaseUrl"] in files["/var/lib/cloud/scripts/sluice-start"]["content"]


def test_the_target_group_asks_health_of_the_data_plane(aws, stack, template):
    elb = aws("elbv2")
    (group,) = elb.describe_target_groups(TargetGroupArns=[stack["TargetGroup"]])["TargetGroups"]
    assert (group["Protocol"], group["Port"], group["TargetType"]) == ("GENEVE", 6081, "instance")
    assert (group["HealthCheckProtocol"], group["HealthCheckPort"], group["HealthCheckPath"]) == (
        "HTTP", "8080", "/health")
    assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (10, 5)
    assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (2, 2)
    assert group["Matcher"] == {"HttpCode": "200"}
    told = template.only("AWS::ElasticLoadBalancingV2::TargetGroup")["TargetGroupAttributes"]
    elb.modify_target_group_attributes(TargetGroupArn=stack["TargetGroup"], Attributes=told)
    kept = by_key(elb.describe_target_group_attributes(TargetGroupArn=stack["TargetGroup"])["Attributes"])
    assert kept["deregistration_delay.timeout_seconds"] == "120"
    assert kept["target_failover.on_deregistration"] == "rebalance"
    assert kept["target_failover.on_unhealthy"] == "rebalance"
    assert kept["stickiness.enabled"] == "false"


@pytest.mark.parametrize("choice", ["source_ip_dest_ip_proto", "source_ip_dest_ip"])
def test_stickiness_excludes_an_idle_timeout(parameters, choice):
    sticky = Template(TEMPLATE, {**parameters, "Stickiness": choice})
    sticky.known.update(LoadBalancer="lb", TargetGroup="tg")
    kept = by_key(sticky.only("AWS::ElasticLoadBalancingV2::TargetGroup")["TargetGroupAttributes"])
    assert (kept["stickiness.enabled"], kept["stickiness.type"]) == ("true", choice)
    assert "ListenerAttributes" not in sticky.only("AWS::ElasticLoadBalancingV2::Listener")


def test_tcp_reset_is_asked_for_where_it_is_wanted(parameters, template):
    wanted = Template(TEMPLATE, {**parameters, "TcpReset": "true"})
    wanted.known.update(LoadBalancer="lb", TargetGroup="tg")
    for made, there in ((wanted, True), (template, False)):
        group = by_key(made.only("AWS::ElasticLoadBalancingV2::TargetGroup")["TargetGroupAttributes"])
        listener = by_key(made.only("AWS::ElasticLoadBalancingV2::Listener")["ListenerAttributes"])
        assert ("send_tcp_reset.on_unhealthy.enabled" in group) == there
        assert ("send_tcp_reset.on_deregistration.enabled" in group) == there
        assert ("send_tcp_reset.on_idle_timeout.enabled" in listener) == there


def test_the_load_balancer_is_a_gateway(aws, stack, template, network):
    elb = aws("elbv2")
    arn = stack["LoadBalancer"]
    (load_balancer,) = elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"]
    assert load_balancer["Type"] == "gateway"
    assert sorted(z["SubnetId"] for z in load_balancer["AvailabilityZones"]) == sorted(network[1])
    told = template.only("AWS::ElasticLoadBalancingV2::LoadBalancer")["LoadBalancerAttributes"]
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=told)
    kept = by_key(elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])
    assert kept["load_balancing.cross_zone.enabled"] == "true"
    assert kept["deletion_protection.enabled"] == "true"


def test_the_listener_takes_everything(aws, stack, template):
    elb = aws("elbv2")
    (made,) = elb.describe_listeners(LoadBalancerArn=stack["LoadBalancer"])["Listeners"]
    assert not made.get("Port") and not made.get("Protocol")
    (action,) = made["DefaultActions"]
    assert (action["Type"], action["TargetGroupArn"]) == ("forward", stack["TargetGroup"])
    told = template.only("AWS::ElasticLoadBalancingV2::Listener")["ListenerAttributes"]
    elb.modify_listener_attributes(ListenerArn=made["ListenerArn"], Attributes=told)
    kept = by_key(elb.describe_listener_attributes(ListenerArn=made["ListenerArn"])["Attributes"])
    assert kept["tcp.idle_timeout.seconds"] == "350"


def test_the_endpoint_service_belongs_to_the_gateway(aws, stack, template):
    ec2 = aws("ec2")
    told = template.only("AWS::EC2::VPCEndpointService")
    told["AcceptanceRequired"] = told["AcceptanceRequired"] == "true"
    made = ec2.create_vpc_endpoint_service_configuration(**told)["ServiceConfiguration"]
    assert made["GatewayLoadBalancerArns"] == [stack["LoadBalancer"]]
    assert made["AcceptanceRequired"] is False
    permitted = template.only("AWS::EC2::VPCEndpointServicePermissions")["AllowedPrincipals"]
    ec2.modify_vpc_endpoint_service_permissions(
        ServiceId=made["ServiceId"], AddAllowedPrincipals=permitted)
    kept = ec2.describe_vpc_endpoint_service_permissions(ServiceId=made["ServiceId"])
    assert [p["Principal"] for p in kept["AllowedPrincipals"]] == ["arn:aws:iam::111122223333:root"]


def test_an_endpoint_is_made_where_a_subnet_was_named(aws, stack, network):
    vpc, subnets = network
    (endpoint,) = aws("ec2").describe_vpc_endpoints(VpcEndpointIds=[stack["Endpoint1"]])["VpcEndpoints"]
    assert endpoint["VpcEndpointType"] == "GatewayLoadBalancer"
    assert (endpoint["VpcId"], endpoint["SubnetIds"]) == (vpc, subnets[:1])
    assert not {"Endpoint2", "Endpoint3"} & set(stack)


def test_the_fleet_spans_the_zones(aws, stack, network):
    (group,) = aws("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=["sluice"])["AutoScalingGroups"]
    assert (group["MinSize"], group["MaxSize"]) == (2, 6)
    assert sorted(group["VPCZoneIdentifier"].split(",")) == sorted(network[1])
    assert group["TargetGroupARNs"] == [stack["TargetGroup"]]
    assert group["LaunchTemplate"]["LaunchTemplateId"] == stack["LaunchTemplate"]
    assert (group["HealthCheckType"], group["HealthCheckGracePeriod"]) == ("ELB", 300)


def test_hook_warm_pool_and_scaling_are_accepted(aws, stack, template):
    autoscaling = aws("autoscaling")
    group = template.only("AWS::AutoScaling::AutoScalingGroup")
    assert group["DefaultInstanceWarmup"] == 180
    for hook in group["LifecycleHookSpecificationList"]:
        autoscaling.put_lifecycle_hook(AutoScalingGroupName="sluice", **hook)
    hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName="sluice")["LifecycleHooks"]
    kept = {h["LifecycleHookName"]: (h["LifecycleTransition"], h["HeartbeatTimeout"], h["DefaultResult"])
            for h in hooks}
    assert kept == {
        "launch": ("autoscaling:EC2_INSTANCE_LAUNCHING", 600, "ABANDON"),
        "drain": ("autoscaling:EC2_INSTANCE_TERMINATING", 600, "CONTINUE"),
    }

    pool = template.only("AWS::AutoScaling::WarmPool")
    pool["MinSize"] = int(pool["MinSize"])
    autoscaling.put_warm_pool(**pool)
    kept = autoscaling.describe_warm_pool(AutoScalingGroupName="sluice")["WarmPoolConfiguration"]
    assert (kept["MinSize"], kept["PoolState"]) == (1, "Stopped")
    assert pool["InstanceReusePolicy"] == {"ReuseOnScaleIn": False}

    policy = template.only("AWS::AutoScaling::ScalingPolicy")
    tracking = policy["TargetTrackingConfiguration"]
    tracking["TargetValue"] = float(tracking["TargetValue"])
    autoscaling.put_scaling_policy(PolicyName="busy", **policy)
    (kept,) = autoscaling.describe_policies(AutoScalingGroupName="sluice")["ScalingPolicies"]
    metric = kept["TargetTrackingConfiguration"]["CustomizedMetricSpecification"]
    assert (metric["Namespace"], metric["MetricName"]) == ("Sluice", "WorkerBusy")
    assert kept["TargetTrackingConfiguration"]["TargetValue"] == 50


def test_without_its_option_a_resource_is_not_made(parameters):
    plain = Template(TEMPLATE, {
        **parameters, "GatewayCidr3": "", "WarmPoolSize": "0", "AllowedPrincipals": "", "EndpointVpcId": "",
        "EndpointSubnetId1": "", "AlarmTopicArn": ""})
    for kind in ("AWS::AutoScaling::WarmPool", "AWS::EC2::VPCEndpoint", "AWS::EC2::VPCEndpointServicePermissions"):
        assert plain.resources(kind) == {}, kind
    rules = plain.only("AWS::EC2::SecurityGroup")
    named = {r["CidrIp"] for r in rules["SecurityGroupIngress"] + rules["SecurityGroupEgress"]}
    assert named == {*CIDRS[:2], "0.0.0.0/0"}


def test_the_alarms_watch_what_is_published(aws, template):
    cloudwatch = aws("cloudwatch")
    for alarm in template.resources("AWS::CloudWatch::Alarm").values():
        cloudwatch.put_metric_alarm(**alarm)
    kept = {one["AlarmName"]: one for one in cloudwatch.describe_alarms()["MetricAlarms"]}
    watched = {name: (one["Namespace"], one["MetricName"]) for name, one in kept.items()}
    assert watched == {
        "sluice-unhealthy": ("AWS/GatewayELB", "UnHealthyHostCount"),
        "sluice-no-healthy": ("AWS/GatewayELB", "HealthyHostCount"),
        "sluice-kernel-drops": ("Sluice", "KernelDrops"),
        "sluice-send-drops": ("Sluice", "SendDrops"),
        "sluice-alien-drops": ("Sluice", "AlienDrops"),
        "sluice-allowance": ("Sluice", "AllowanceExceeded"),
        "sluice-silent": ("Sluice", "WorkerBusy"),
    }
    publisher = (ROOT / "deploy" / "fleet" / "publish-figures").read_text()
    published = set(re.findall(r"(?:gauge|counter) (\w+) %", publisher))
    assert {metric for space, metric in watched.values() if space == "Sluice"} == published
    for name, one in kept.items():
        assert one["AlarmActions"] == one["OKActions"] == ["arn:aws:sns:eu-central-1:123456789012:alarms"]
        assert "DAY-TWO.md" in one["AlarmDescription"], name
        expected = "AutoScalingGroupName" if one["Namespace"] == "Sluice" else "LoadBalancer"
        assert expected in {d["Name"] for d in one["Dimensions"]}, name


# ---- What moto does not keep.


def test_updates_roll_one_by_one_and_wait_for_health():
    fleet = load(TEMPLATE)["Resources"]["Fleet"]
    rolling = fleet["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert (rolling["MaxBatchSize"], rolling["WaitOnResourceSignals"]) == (1, True)
    assert rolling["MinInstancesInService"] == {"Ref": "MinSize"}
    # As many signals as there are instances at first: the group starts with its least.
    assert fleet["CreationPolicy"]["ResourceSignal"]["Count"] == {"Ref": "MinSize"}
    assert "DesiredCapacity" not in fleet["Properties"]
    # A pause longer than hook and start need together.
    minutes = int(re.fullmatch(r"PT(\d+)M", rolling["PauseTime"])[1])
    assert minutes * 60 > 600 + 350 + 300


@pytest.mark.parametrize("given, refused", [
    ({"ReleaseSha256": ""}, "ReleaseUrl and ReleaseSha256 belong together"),
    ({"ReleaseUrl": ""}, "ReleaseUrl and ReleaseSha256 belong together"),
    ({"EndpointVpcId": ""}, "EndpointSubnetId1 needs EndpointVpcId"),
    ({"TcpReset": "true", "Stickiness": "source_ip_dest_ip"}, "TcpReset needs Stickiness 5-tuple"),
    ({"AcceptanceRequired": "true"}, "set AcceptanceRequired to false"),
    ({}, None),
])
def test_the_rules_refuse_what_cannot_work(parameters, given, refused):
    template = Template(TEMPLATE, {**parameters, **given})
    broken = [
        one["AssertDescription"]
        for rule in template.text["Rules"].values()
        if template.resolve(rule.get("RuleCondition", True))
        for one in rule["Assertions"] if not template.resolve(one["Assert"])
    ]
    assert len(broken) == (1 if refused else 0), broken
    assert refused is None or refused in broken[0]


def test_every_output_resolves(template):
    for name, output in template.text["Outputs"].items():
        assert output["Description"].endswith("."), name
        if template.holds(output.get("Condition")):
            assert template.resolve(output["Value"]), name
