# terraform test: no account, no cost; the provider's answers are made up.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012", arn = "arn:aws:iam::123456789012:root" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_ami" {
    defaults = { id = "ami-0123456789abcdef0" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/gwy/sluice/0123456789abcdef" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/sluice/0123456789abcdef" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:sluice" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/sluice" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
}

variables {
  vpc_id = "vpc-0123456789abcdef0"
  subnets = {
    eu-central-1a = { id = "subnet-0000000000000000a", cidr = "10.0.1.0/24" }
    eu-central-1b = { id = "subnet-0000000000000000b", cidr = "10.0.2.0/24" }
  }
  package = {
    url    = "https://example.com/sluice.rpm"
    sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }
}

run "defaults" {
  command = apply

  assert {
    condition     = one(aws_lb_target_group.this.target_failover[*].on_deregistration) == "rebalance" && one(aws_lb_target_group.this.target_failover[*].on_unhealthy) == "rebalance"
    error_message = "Flows must move on both events."
  }
  assert {
    condition     = one(aws_lb_target_group.this.health_check[*].path) == "/health" && one(aws_lb_target_group.this.health_check[*].protocol) == "HTTP"
    error_message = "The health check must ask /health."
  }
  assert {
    condition     = length(aws_lb_target_group.this.stickiness) == 0
    error_message = "5-tuple is what a target group without stickiness does."
  }
  assert {
    condition     = aws_autoscaling_lifecycle_hook.terminate.heartbeat_timeout > local.terminate_timeout - 1 && local.terminate_timeout > var.drain.timeout + 30
    error_message = "The hook must outlast the drain and systemd's wait for it."
  }
  assert {
    condition     = strcontains(local.user_data, "TimeoutStopSec=380") && yamldecode(local.configuration).drain.timeout == "350s"
    error_message = "TimeoutStopSec must be above drain.timeout."
  }
  assert {
    condition     = strcontains(local.user_data, "\n      Environment=SLUICE_ALLOW_SOURCES=${join(",", sort([for subnet in var.subnets : subnet.cidr]))}\n")
    error_message = "Only the load balancer's subnets may send."
  }
  assert {
    condition     = yamldecode(local.user_data).packages[0] == "amazon-cloudwatch-agent"
    error_message = "The user data must be YAML."
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.geneve) == 2 && length(aws_vpc_security_group_egress_rule.geneve) == 2
    error_message = "Geneve must pass in and out for every zone."
  }
  assert {
    condition     = length(aws_iam_role_policy.package) == 0
    error_message = "A package from the web needs no permission."
  }
  assert {
    condition     = aws_launch_template.appliance.image_id == "ami-0123456789abcdef0"
    error_message = "Without ami_id the image comes from the data source."
  }
}

run "choices" {
  command = apply

  variables {
    stickiness           = "source_ip_dest_ip"
    target_failover      = "no_rebalance"
    cross_zone           = true
    deregistration_delay = 0
    ami_id               = "ami-00000000"
    warm_pool            = {}
    size                 = { min = 3, max = 9 }
    drain                = { minimum = 0, timeout = 6900 }
    package = {
      url    = "s3://releases/sluice.rpm"
      sha256 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    }
    configuration = "# as written\nmtu: 1500\nlisten: { workers: 2, allow-sources: 10.0.0.0/8 }\n"
  }

  assert {
    condition     = one(aws_lb_target_group.this.stickiness[*].type) == "source_ip_dest_ip" && aws_lb_listener.this.tcp_idle_timeout_seconds == null
    error_message = "AWS lets the idle timeout be set only with 5-tuple."
  }
  assert {
    condition     = one(aws_lb_target_group.this.target_failover[*].on_unhealthy) == "no_rebalance"
    error_message = "The choice must reach the target group."
  }
  assert {
    condition     = aws_lb.this.enable_cross_zone_load_balancing
    error_message = "The choice must reach the load balancer."
  }
  assert {
    condition     = one(aws_autoscaling_group.this.warm_pool[*].pool_state) == "Stopped"
    error_message = "The warm pool must exist."
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.package[0].policy).Statement[0].Resource == "arn:aws:s3:::releases/sluice.rpm"
    error_message = "Only the package itself may be read."
  }
  assert {
    condition     = strcontains(local.user_data, "aws s3 cp --only-show-errors 's3://releases/sluice.rpm'")
    error_message = "A package in S3 must be fetched from there."
  }
  assert {
    condition     = yamldecode(local.configuration).listen.workers == 2 && strcontains(local.configuration, "# as written") && yamldecode(local.configuration).drain.minimum == "0s"
    error_message = "The caller's text and the sections of the module make one file."
  }
  assert {
    condition     = !strcontains(local.user_data, "SLUICE_ALLOW_SOURCES")
    error_message = "The caller's allow-sources has the last word."
  }
  assert {
    condition     = aws_autoscaling_lifecycle_hook.terminate.heartbeat_timeout <= 7200
    error_message = "AWS allows at most 7200 seconds."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.healthy.threshold == 3
    error_message = "The alarm must follow the minimum."
  }
  assert {
    condition     = length(data.aws_ami.amazon_linux) == 0
    error_message = "A given image must not be looked up."
  }
}

run "refuses_what_aws_refuses" {
  command = plan

  variables {
    name                 = "Sluice"
    subnets              = {}
    target_failover      = "both"
    stickiness           = "source_ip"
    tcp_idle_timeout     = 59
    deregistration_delay = 3601
    health_check         = { unhealthy = 1 }
    allowed_principals   = ["*"]
    drain                = { minimum = 60, timeout = 30 }
    size                 = { min = 2, max = 1 }
    package              = { url = "http://example.com/sluice.rpm", sha256 = "no" }
    configuration        = "health: {}"
    log_retention_days   = 2
    alarm_drop_reasons   = ["bad_luck"]
    warm_pool            = { state = "Hot" }
  }

  expect_failures = [
    var.name, var.subnets, var.target_failover, var.stickiness, var.tcp_idle_timeout, var.deregistration_delay,
    var.health_check, var.allowed_principals, var.drain, var.size, var.package, var.configuration, var.log_retention_days,
    var.alarm_drop_reasons, var.warm_pool,
  ]
}
