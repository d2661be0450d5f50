# The Gateway Load Balancer, its target group, and the service that endpoints connect to.

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:A Gateway Load Balancer has no access log; VPC flow logs belong to whoever owns the VPC
  #checkov:skip=CKV_AWS_152:Cross-zone is the caller's choice (var.cross_zone): it costs traffic between zones
  name                             = var.name
  load_balancer_type               = "gateway"
  subnets                          = [for subnet in var.subnets : subnet.id]
  enable_cross_zone_load_balancing = var.cross_zone
  enable_deletion_protection       = var.deletion_protection
  tags                             = var.tags
}

resource "aws_lb_target_group" "this" {
  name                 = var.name
  vpc_id               = var.vpc_id
  target_type          = "instance"
  protocol             = "GENEVE"
  port                 = 6081
  deregistration_delay = var.deregistration_delay
  tags                 = var.tags

  # A bare TCP check proves only that the process lives; /health says whether every worker forwards.
  health_check {
    protocol            = "HTTP"
    port                = var.health_check.port
    path                = "/health"
    matcher             = "200"
    interval            = var.health_check.interval
    timeout             = var.health_check.timeout
    healthy_threshold   = var.health_check.healthy
    unhealthy_threshold = var.health_check.unhealthy
  }

  target_failover {
    on_deregistration = var.target_failover
    on_unhealthy      = var.target_failover
  }

  dynamic "stickiness" {
    for_each = var.stickiness == "5-tuple" ? [] : [var.stickiness]

    content {
      enabled = true
      type    = stickiness.value
    }
  }
}

resource "aws_lb_listener" "this" {
  #checkov:skip=CKV_AWS_2:A Gateway Load Balancer's listener takes all IP traffic and has no protocol
  #checkov:skip=CKV_AWS_103:It has no TLS
  load_balancer_arn        = aws_lb.this.arn
  tcp_idle_timeout_seconds = var.stickiness == "5-tuple" ? var.tcp_idle_timeout : null
  tags                     = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_vpc_endpoint_service" "this" {
  #checkov:skip=CKV_AWS_123:Manual acceptance is on by default (var.acceptance_required); who may ask is a list of ARNs
  acceptance_required        = var.acceptance_required
  allowed_principals         = var.allowed_principals
  gateway_load_balancer_arns = [aws_lb.this.arn]
  tags                       = merge(var.tags, { Name = var.name })
}
