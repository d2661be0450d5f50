# Two instances side by side: one generates, one runs the appliance. sluice-gen plays the Gateway Load
# Balancer, so that none is paid for. A cluster placement group gives them the shortest way and lets one
# flow have 10 Gbit/s.

terraform {
  required_version = ">= 1.7"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = var.name }
  }
}

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394:Only the first is used; var.zone pins it
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_ami" "amazon_linux" {
  most_recent = true
  owners      = ["amazon"]

  filter {
    name   = "name"
    values = ["al2023-ami-2023.*-kernel-*"]
  }

  filter {
    name   = "architecture"
    values = [var.architecture]
  }
}

locals {
  zone = coalesce(var.zone, data.aws_availability_zones.available.names[0])
  cidr = "10.77.0.0/24"

  instances = {
    generator = var.generator_type
    appliance = var.appliance_type
  }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs would disturb the measurement and cost more than it
  cidr_block           = local.cidr
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_subnet" "this" {
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zone
  cidr_block        = local.cidr
  tags              = { Name = var.name }
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.this.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "this" {
  subnet_id      = aws_subnet.this.id
  route_table_id = aws_route_table.this.id
}

resource "aws_placement_group" "this" {
  name     = var.name
  strategy = "cluster"
}

resource "aws_security_group" "this" {
  name                   = var.name
  description            = "Load test: Geneve between the two, HTTPS out"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = { Name = var.name }
}

resource "aws_vpc_security_group_ingress_rule" "geneve" {
  security_group_id            = aws_security_group.this.id
  description                  = "Geneve from the other instance"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "udp"
  from_port                    = 6081
  to_port                      = 6081
}

resource "aws_vpc_security_group_egress_rule" "geneve" {
  security_group_id            = aws_security_group.this.id
  description                  = "Geneve to the other instance"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "udp"
  from_port                    = 6081
  to_port                      = 6081
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "SSM and packages"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_instance" "this" {
  #checkov:skip=CKV_AWS_88:The only way out without a NAT gateway; nothing is open from the Internet
  #checkov:skip=CKV_AWS_126:Detailed monitoring tells nothing that the counters do not
  for_each = local.instances

  ami                         = data.aws_ami.amazon_linux.id
  instance_type               = each.value
  subnet_id                   = aws_subnet.this.id
  placement_group             = aws_placement_group.this.name
  associate_public_ip_address = true
  vpc_security_group_ids      = [aws_security_group.this.id]
  iam_instance_profile        = aws_iam_instance_profile.this.name
  ebs_optimized               = true
  user_data_replace_on_change = true
  tags                        = { Name = "${var.name}-${each.key}" }

  # Both send from addresses of their own: the generator from its own as the load balancer's node, the
  # appliance from the one it was called at. Nothing needs the check off.
  source_dest_check = true

  user_data = templatefile("${path.module}/user-data.sh.tftpl", {
    package = var.packages[each.key]
    role    = each.key
  })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    volume_type = "gp3"
  }

  depends_on = [aws_route.internet, aws_route_table_association.this]
}

data "aws_partition" "current" {}

locals {
  # bucket/key; an https:// package needs no permission.
  package_objects = [for package in var.packages : trimprefix(package.url, "s3://") if startswith(package.url, "s3://")]
}

resource "aws_iam_role" "this" {
  name_prefix = "${var.name}-"
  description = "Instances of ${var.name}: commands by SSM"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.this.name
}

resource "aws_iam_role_policy" "ssm" {
  #checkov:skip=CKV_AWS_355:AWS defines no resources for these actions
  #checkov:skip=CKV_AWS_290:AWS defines no resources for these actions
  name = "ssm"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "ec2messages:AcknowledgeMessage",
        "ec2messages:DeleteMessage",
        "ec2messages:FailMessage",
        "ec2messages:GetEndpoint",
        "ec2messages:GetMessages",
        "ec2messages:SendReply",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ]
      Resource = "*"
    }]
  })
}

resource "aws_iam_role_policy" "package" {
  count = length(local.package_objects) > 0 ? 1 : 0

  name = "package"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = [for object in local.package_objects : "arn:${data.aws_partition.current.partition}:s3:::${object}"]
    }]
  })
}
