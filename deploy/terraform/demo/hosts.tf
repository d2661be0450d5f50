# The hosts a, b and c, with nc to chat. They are reached by SSM: no key pair, no open SSH.

data "aws_ami" "amazon_linux" {
  count = var.ami_id == null ? 1 : 0

  most_recent = true
  owners      = ["amazon"]

  filter {
    name   = "name"
    values = ["al2023-ami-2023.*-kernel-*"]
  }

  filter {
    name   = "architecture"
    values = ["x86_64"]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

locals {
  hosts = toset(["a", "b", "c"])
}

resource "aws_instance" "host" {
  #checkov:skip=CKV_AWS_88:As in the blog, the hosts have public addresses, which is what c shows; nothing but UDP 3000 of c is open
  #checkov:skip=CKV_AWS_126:Detailed monitoring costs more than it shows in a demo of minutes
  for_each = local.hosts

  ami                         = var.ami_id == null ? one(data.aws_ami.amazon_linux[*].id) : var.ami_id
  instance_type               = var.host_instance_type
  subnet_id                   = aws_subnet.this[each.key].id
  associate_public_ip_address = true
  vpc_security_group_ids      = [each.key == "c" ? aws_security_group.public_host.id : aws_security_group.private_hosts.id]
  iam_instance_profile        = aws_iam_instance_profile.host.name
  ebs_optimized               = true
  user_data_replace_on_change = true
  tags                        = { Name = "${var.name}-${each.key}" }

  # Host c has no way out before the appliance forwards, so installing is tried until it works.
  user_data = <<-EOT
    #!/bin/bash
    until dnf install -y nmap-ncat; do sleep 10; done
  EOT

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    volume_type = "gp3"
  }

  lifecycle {
    ignore_changes = [ami]
  }

  depends_on = [aws_route.a_to_internet, aws_route.b_to_internet, aws_route.c_to_internet, aws_route.edge_to_c, aws_route_table_association.this]
}

resource "aws_iam_role" "host" {
  name_prefix = "${var.name}-host-"
  description = "Hosts a, b and c of ${var.name}: reached by Session Manager"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_instance_profile" "host" {
  name_prefix = "${var.name}-host-"
  role        = aws_iam_role.host.name
}

resource "aws_iam_role_policy" "host_ssm" {
  #checkov:skip=CKV_AWS_355:AWS defines no resources for these actions
  #checkov:skip=CKV_AWS_290:AWS defines no resources for these actions
  name = "ssm"
  role = aws_iam_role.host.id

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
