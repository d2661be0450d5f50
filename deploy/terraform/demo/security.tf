# Who may talk to the hosts. The appliance's rules are the fleet module's; what differs from the blog's
# demo, and why, is a table in deploy/README.md.

resource "aws_security_group" "private_hosts" {
  name                   = "${var.name}-private-hosts"
  description            = "Hosts a and b: chat with each other, ping in the VPC, HTTPS out"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = { Name = "${var.name}-private-hosts" }
}

resource "aws_vpc_security_group_ingress_rule" "chat" {
  for_each = toset(["a", "b"])

  security_group_id = aws_security_group.private_hosts.id
  description       = "Chat from host ${each.key}"
  cidr_ipv4         = local.cidrs[each.key]
  ip_protocol       = "udp"
  from_port         = 3000
  to_port           = 3000
}

resource "aws_vpc_security_group_ingress_rule" "private_ping" {
  security_group_id = aws_security_group.private_hosts.id
  description       = "ICMP from the VPC"
  cidr_ipv4         = local.vpc_cidr
  ip_protocol       = "icmp"
  from_port         = -1
  to_port           = -1
}

resource "aws_vpc_security_group_egress_rule" "chat" {
  for_each = toset(["a", "b"])

  security_group_id = aws_security_group.private_hosts.id
  description       = "Chat to host ${each.key}"
  cidr_ipv4         = local.cidrs[each.key]
  ip_protocol       = "udp"
  from_port         = 3000
  to_port           = 3000
}

resource "aws_vpc_security_group_egress_rule" "private_ping" {
  security_group_id = aws_security_group.private_hosts.id
  description       = "ICMP to the VPC"
  cidr_ipv4         = local.vpc_cidr
  ip_protocol       = "icmp"
  from_port         = -1
  to_port           = -1
}

resource "aws_vpc_security_group_egress_rule" "private_https" {
  security_group_id = aws_security_group.private_hosts.id
  description       = "SSM and packages"
  cidr_ipv4         = local.anywhere
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_security_group" "public_host" {
  name                   = "${var.name}-public-host"
  description            = "Host c: chat with the Internet, ping in the VPC, HTTPS out"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = { Name = "${var.name}-public-host" }
}

resource "aws_vpc_security_group_ingress_rule" "public_chat" {
  for_each = var.chat_cidrs

  security_group_id = aws_security_group.public_host.id
  description       = "Chat from ${each.key}"
  cidr_ipv4         = each.key
  ip_protocol       = "udp"
  from_port         = 3000
  to_port           = 3000
}

resource "aws_vpc_security_group_ingress_rule" "public_ping" {
  security_group_id = aws_security_group.public_host.id
  description       = "ICMP from the VPC"
  cidr_ipv4         = local.vpc_cidr
  ip_protocol       = "icmp"
  from_port         = -1
  to_port           = -1
}

resource "aws_vpc_security_group_egress_rule" "public_ping" {
  #checkov:skip=CKV_AWS_382:ICMP only, which has no ports: -1 means all of its types
  security_group_id = aws_security_group.public_host.id
  description       = "ICMP anywhere, which shows that the way out is inspected"
  cidr_ipv4         = local.anywhere
  ip_protocol       = "icmp"
  from_port         = -1
  to_port           = -1
}

resource "aws_vpc_security_group_egress_rule" "public_https" {
  security_group_id = aws_security_group.public_host.id
  description       = "SSM and packages"
  cidr_ipv4         = local.anywhere
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
