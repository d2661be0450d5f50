# The blog's network: hosts a, b and c each in a subnet, the endpoints and the appliances in others.
#
#   a and b reach each other through the local endpoint; their way to the Internet is direct.
#   c and the Internet reach each other, both ways, through the public endpoint.

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394:Only the first is used; var.zone pins it
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  zone     = coalesce(var.zone, data.aws_availability_zones.available.names[0])
  vpc_cidr = "192.168.0.0/16"
  anywhere = "0.0.0.0/0"

  cidrs = {
    a               = "192.168.1.0/24"
    b               = "192.168.2.0/24"
    c               = "192.168.3.0/24"
    endpoint        = "192.168.10.0/24"
    appliances      = "192.168.20.0/24"
    endpoint_public = "192.168.100.0/24"
  }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs would cost more than they show in a demo of minutes; the appliance counts every packet
  cidr_block           = local.vpc_cidr
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Nothing uses the default group: it lets nothing through.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_subnet" "this" {
  for_each = local.cidrs

  vpc_id            = aws_vpc.this.id
  availability_zone = local.zone
  cidr_block        = each.value
  tags              = { Name = "${var.name}-${each.key}" }
}

resource "aws_route_table" "this" {
  for_each = local.cidrs

  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-${each.key}" }
}

resource "aws_route_table_association" "this" {
  for_each = local.cidrs

  subnet_id      = aws_subnet.this[each.key].id
  route_table_id = aws_route_table.this[each.key].id
}

# The edge table: what comes in from the Internet, by its destination.
resource "aws_route_table" "edge" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-edge" }
}

resource "aws_route_table_association" "edge" {
  gateway_id     = aws_internet_gateway.this.id
  route_table_id = aws_route_table.edge.id
}

resource "aws_route" "edge_to_c" {
  route_table_id         = aws_route_table.edge.id
  destination_cidr_block = local.cidrs.c
  vpc_endpoint_id        = aws_vpc_endpoint.public.id
}

resource "aws_route" "a_to_b" {
  route_table_id         = aws_route_table.this["a"].id
  destination_cidr_block = local.cidrs.b
  vpc_endpoint_id        = aws_vpc_endpoint.local.id
}

resource "aws_route" "a_to_internet" {
  route_table_id         = aws_route_table.this["a"].id
  destination_cidr_block = local.anywhere
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route" "b_to_a" {
  route_table_id         = aws_route_table.this["b"].id
  destination_cidr_block = local.cidrs.a
  vpc_endpoint_id        = aws_vpc_endpoint.local.id
}

resource "aws_route" "b_to_internet" {
  route_table_id         = aws_route_table.this["b"].id
  destination_cidr_block = local.anywhere
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route" "c_to_internet" {
  route_table_id         = aws_route_table.this["c"].id
  destination_cidr_block = local.anywhere
  vpc_endpoint_id        = aws_vpc_endpoint.public.id
}

resource "aws_route" "endpoint_public_to_internet" {
  route_table_id         = aws_route_table.this["endpoint_public"].id
  destination_cidr_block = local.anywhere
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route" "appliances_to_internet" {
  route_table_id         = aws_route_table.this["appliances"].id
  destination_cidr_block = local.anywhere
  gateway_id             = aws_internet_gateway.this.id
}

# The table of the local endpoint's subnet has the VPC's own route and no other.
