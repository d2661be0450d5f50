# The appliances: a launch template and an Auto Scaling group over all zones.

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
    values = [var.architecture]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

locals {
  launch_hook    = "${var.name}-launch"
  terminate_hook = "${var.name}-terminate"

  # The caller's text as it is: Sluice tells a quoted word from a bare one, and yamlencode quotes all.
  configuration = join("\n", [
    trimspace(var.configuration),
    "health: { address: \"0.0.0.0:${var.health_check.port}\" }",
    "drain: { minimum: ${var.drain.minimum}s, idle: ${var.drain.idle}s, timeout: ${var.drain.timeout}s }",
    "",
  ])

  # The load balancer's nodes stand in these subnets. A text that says who may send has the last word.
  allow_sources = can(yamldecode(var.configuration).listen["allow-sources"]) ? [] : sort([
    for subnet in var.subnets : subnet.cidr
  ])

  user_data = templatefile("${path.module}/templates/user-data.yaml.tftpl", {
    configuration = local.configuration
    package       = var.package
    allow_sources = join(",", local.allow_sources)
    # systemd kills a service that stops for longer: this must be more than it may drain.
    stop_timeout = var.drain.timeout + 30
    # What the package's sluice-lifecycle.service follows.
    fleet_environment = join("\n", [
      "FLEET=${var.name}",
      "LAUNCH_HOOK=${local.launch_hook}",
      "TERMINATE_HOOK=${local.terminate_hook}",
      "DEREGISTRATION_DELAY=${var.deregistration_delay}",
      "HEALTH=127.0.0.1:${var.health_check.port}",
      "",
    ])
    allowance_script = templatefile("${path.module}/templates/allowance.sh.tftpl", {
      fleet     = var.name
      namespace = local.metrics_namespace
    })
    agent_configuration = jsonencode(local.agent_configuration)
    scrape_configuration = yamlencode({
      scrape_configs = [{
        job_name        = "sluice"
        scrape_interval = "60s"
        static_configs  = [{ targets = ["127.0.0.1:${var.health_check.port}"], labels = { fleet = var.name } }]
      }]
    })
  })
}

resource "aws_launch_template" "appliance" {
  #checkov:skip=CKV_AWS_88:Public addresses are off unless the caller asks (var.associate_public_ip_address)
  name_prefix            = "${var.name}-"
  description            = "Sluice appliances of ${var.name}"
  image_id               = var.ami_id == null ? one(data.aws_ami.amazon_linux[*].id) : var.ami_id
  instance_type          = var.instance_type
  update_default_version = true
  ebs_optimized          = true
  user_data              = base64gzip(local.user_data)
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.appliance.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  network_interfaces {
    device_index                = 0
    associate_public_ip_address = var.associate_public_ip_address
    security_groups             = [aws_security_group.appliance.id]
    delete_on_termination       = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_size
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-appliance" })
    }
  }
}

resource "aws_autoscaling_group" "this" {
  name                      = var.name
  vpc_zone_identifier       = [for subnet in var.subnets : subnet.id]
  min_size                  = var.size.min
  max_size                  = var.size.max
  desired_capacity          = var.size.desired
  target_group_arns         = [aws_lb_target_group.this.arn]
  health_check_type         = "ELB"
  health_check_grace_period = var.launch_timeout # for the first appliances, which start before the hooks exist
  default_instance_warmup   = 60
  termination_policies      = ["OldestLaunchTemplate", "Default"]

  launch_template {
    id      = aws_launch_template.appliance.id
    version = aws_launch_template.appliance.latest_version
  }

  # A change of the template starts new appliances before old ones leave, and goes back when they fail.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      instance_warmup        = 60
      auto_rollback          = true
      skip_matching          = true
    }
  }

  dynamic "warm_pool" {
    for_each = var.warm_pool == null ? [] : [var.warm_pool]

    content {
      pool_state = warm_pool.value.state
      min_size   = warm_pool.value.min_size
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-appliance" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  # Deleting the group runs the termination hooks: it takes the deregistration delay and the drain.
  timeouts {
    delete = "${ceil((var.deregistration_delay + local.terminate_timeout) / 60) + 15}m"
  }

  lifecycle {
    create_before_destroy = false
    ignore_changes        = [desired_capacity]
  }
}

locals {
  # The service drains for at most drain.timeout; what is beyond is for the last calls. The follower's
  # heartbeats lengthen it while packets still come.
  terminate_timeout = var.drain.timeout + 120
}

# An appliance joins the target group only when it is healthy, and a prepared one is put into the
# warm pool only when it is installed: deploy/fleet/follow-lifecycle, of the package, completes this hook.
resource "aws_autoscaling_lifecycle_hook" "launch" {
  name                   = local.launch_hook
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  heartbeat_timeout      = var.launch_timeout
  default_result         = "ABANDON"
}

# Auto Scaling first deregisters the appliance and waits the deregistration delay; only then does this
# hook begin. The appliance sees it, stops the service (which drains) and completes the hook.
resource "aws_autoscaling_lifecycle_hook" "terminate" {
  name                   = local.terminate_hook
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = local.terminate_timeout
  default_result         = "CONTINUE"
}
