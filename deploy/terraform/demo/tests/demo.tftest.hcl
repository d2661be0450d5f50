# terraform test: no account, no cost; the provider's answers are made up.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012", arn = "arn:aws:iam::123456789012:user/someone" }
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
  package = {
    url    = "https://example.com/sluice.rpm"
    sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }
}

run "topology" {
  command = apply

  assert {
    condition     = local.zone == "eu-central-1a" && length(aws_subnet.this) == 6 && alltrue([for subnet in aws_subnet.this : subnet.availability_zone == "eu-central-1a"])
    error_message = "All six subnets lie in the first zone."
  }
  assert {
    condition     = aws_route.a_to_b.vpc_endpoint_id == aws_vpc_endpoint.local.id && aws_route.b_to_a.vpc_endpoint_id == aws_vpc_endpoint.local.id
    error_message = "a and b must reach each other through the local endpoint."
  }
  assert {
    condition     = aws_route.c_to_internet.vpc_endpoint_id == aws_vpc_endpoint.public.id && aws_route.edge_to_c.vpc_endpoint_id == aws_vpc_endpoint.public.id
    error_message = "c and the Internet must reach each other through the public endpoint."
  }
  assert {
    condition     = tolist(aws_vpc_endpoint.local.subnet_ids)[0] == aws_subnet.this["endpoint"].id && tolist(aws_vpc_endpoint.public.subnet_ids)[0] == aws_subnet.this["endpoint_public"].id
    error_message = "Each endpoint stands in its own subnet."
  }
  assert {
    condition     = aws_instance.host["c"].vpc_security_group_ids == toset([aws_security_group.public_host.id]) && aws_instance.host["a"].vpc_security_group_ids == toset([aws_security_group.private_hosts.id])
    error_message = "Only c may be chatted with from the Internet."
  }
  assert {
    condition     = toset(keys(output.host_instance_ids)) == toset(["a", "b", "c"])
    error_message = "The scripts need the ids of all hosts."
  }
}

run "a_zone_of_one_s_own" {
  command = plan

  variables {
    zone = "eu-central-1c"
  }

  assert {
    condition     = local.zone == "eu-central-1c"
    error_message = "The choice must win."
  }
}

run "refuses_what_cannot_be" {
  command = plan

  variables {
    zone       = "us-east-1a"
    name       = "x"
    ami_id     = "latest"
    chat_cidrs = ["everybody"]
  }

  expect_failures = [var.zone, var.name, var.ami_id, var.chat_cidrs]
}

run "refuses_what_is_no_region" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}
