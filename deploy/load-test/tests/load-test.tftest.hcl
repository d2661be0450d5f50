# terraform test: no account, no cost; the provider's answers are made up.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a"] }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_ami" {
    defaults = { id = "ami-0123456789abcdef0" }
  }
}

variables {
  appliance_type = "c6in.large"
  generator_type = "c6in.8xlarge"
  packages = {
    appliance = { url = "https://example.com/sluice.rpm", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
    generator = { url = "s3://releases/sluice-tools.rpm", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  }
}

run "two_instances_side_by_side" {
  command = apply

  assert {
    condition     = aws_instance.this["appliance"].instance_type == "c6in.large" && aws_instance.this["generator"].instance_type == "c6in.8xlarge"
    error_message = "Each instance has its own type."
  }
  assert {
    condition     = aws_placement_group.this.strategy == "cluster" && alltrue([for instance in aws_instance.this : instance.placement_group == aws_placement_group.this.name && instance.subnet_id == aws_subnet.this.id])
    error_message = "Both stand in one cluster placement group and one subnet."
  }
  assert {
    condition     = strcontains(aws_instance.this["appliance"].user_data, "systemctl enable --now sluice.service") && !strcontains(aws_instance.this["generator"].user_data, "sluice.service")
    error_message = "Only the appliance runs the service."
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.package[0].policy).Statement[0].Resource == ["arn:aws:s3:::releases/sluice-tools.rpm"]
    error_message = "Only what lies in S3 may be read from there."
  }
}

run "refuses_what_aws_refuses" {
  command = plan

  variables {
    appliance_type = "t3.micro"
    generator_type = "t3.micro"
    packages = {
      appliance = { url = "ftp://example.com/sluice.rpm", sha256 = "0" }
      generator = { url = "s3://releases/sluice-tools.rpm", sha256 = "1" }
    }
  }

  expect_failures = [var.appliance_type, var.generator_type, var.packages]
}
