# What may reach an appliance, and what it may reach. A Gateway Load Balancer has no security group
# of its own: its nodes are known by the subnets they stand in.

resource "aws_security_group" "appliance" {
  #checkov:skip=CKV2_AWS_5:Attached by the launch template
  name                   = "${var.name}-appliance"
  description            = "Sluice appliances: Geneve to and from the load balancer, health checks, HTTPS out"
  vpc_id                 = var.vpc_id
  revoke_rules_on_delete = true
  tags                   = merge(var.tags, { Name = "${var.name}-appliance" })
}

resource "aws_vpc_security_group_ingress_rule" "geneve" {
  for_each = var.subnets

  security_group_id = aws_security_group.appliance.id
  description       = "Geneve from the load balancer node in ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "udp"
  from_port         = 6081
  to_port           = 6081
}

# Replies keep both ports, so to a security group they are a flow of their own, again to port 6081.
resource "aws_vpc_security_group_egress_rule" "geneve" {
  for_each = var.subnets

  security_group_id = aws_security_group.appliance.id
  description       = "Geneve back to the load balancer node in ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "udp"
  from_port         = 6081
  to_port           = 6081
}

resource "aws_vpc_security_group_ingress_rule" "health" {
  for_each = var.subnets

  security_group_id = aws_security_group.appliance.id
  description       = "Health checks from the load balancer node in ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = var.health_check.port
  to_port           = var.health_check.port
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = var.https_egress_cidrs

  security_group_id = aws_security_group.appliance.id
  description       = "SSM, CloudWatch, Auto Scaling and packages"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
