# What an appliance may do in the account: be reached by SSM, report, say that a lifecycle action is done.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id

  # s3://bucket/key; an https:// package needs no permission.
  package_object = one(regexall("^s3://(.+)$", var.package.url)[*][0])
}

resource "aws_iam_role" "appliance" {
  name_prefix = "${var.name}-appliance-"
  description = "Sluice appliances of ${var.name}"
  tags        = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_instance_profile" "appliance" {
  name_prefix = "${var.name}-appliance-"
  role        = aws_iam_role.appliance.name
  tags        = var.tags
}

# What Session Manager and Run Command need, without the access to every parameter that
# AmazonSSMManagedInstanceCore adds. These actions know no resources.
resource "aws_iam_role_policy" "ssm" {
  #checkov:skip=CKV_AWS_355:AWS defines no resources for these actions
  #checkov:skip=CKV_AWS_290:AWS defines no resources for these actions
  name = "ssm"
  role = aws_iam_role.appliance.id

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

resource "aws_iam_role_policy" "lifecycle" {
  name = "lifecycle"
  role = aws_iam_role.appliance.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        Resource = "arn:${local.partition}:autoscaling:*:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}"
      },
      {
        Effect   = "Allow"
        Action   = "autoscaling:DescribeAutoScalingInstances"
        Resource = "*" # AWS defines none for it
      },
    ]
  })
}

resource "aws_iam_role_policy" "reports" {
  #checkov:skip=CKV_AWS_355:PutMetricData knows no resources; the condition holds it to one namespace
  #checkov:skip=CKV_AWS_290:PutMetricData knows no resources; the condition holds it to one namespace
  name = "reports"
  role = aws_iam_role.appliance.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringEquals = { "cloudwatch:namespace" = local.metrics_namespace } }
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [for group in aws_cloudwatch_log_group.this : "${group.arn}:*"]
      },
    ]
  })
}

resource "aws_iam_role_policy" "package" {
  count = local.package_object == null ? 0 : 1

  name = "package"
  role = aws_iam_role.appliance.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = "arn:${local.partition}:s3:::${local.package_object}"
    }]
  })
}
