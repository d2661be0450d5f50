# One appliance with the blog's rules behind a Gateway Load Balancer, and the two endpoints.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

module "fleet" {
  #checkov:skip=CKV_AWS_150:A demo must be easy to delete
  source = "../modules/appliance-fleet"

  name   = var.name
  vpc_id = aws_vpc.this.id
  subnets = {
    (local.zone) = { id = aws_subnet.this["appliances"].id, cidr = local.cidrs.appliances }
  }
  associate_public_ip_address = true

  instance_type = var.appliance_instance_type
  ami_id        = var.ami_id
  package       = var.package
  configuration = file(coalesce(var.policy_file, "${path.module}/../../examples/blog.yaml"))
  size          = { min = 1, max = 2, desired = 1 }

  # A demo comes and goes quickly.
  deletion_protection  = false
  deregistration_delay = 30
  drain                = { minimum = 10, timeout = 60 }
  log_retention_days   = 1

  acceptance_required = false
  # The account, not who calls: EC2 refuses the ARN of a session, such as that of an SSO role.
  allowed_principals = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]

  # Without its way to the Internet an appliance cannot install itself.
  depends_on = [aws_route.appliances_to_internet, aws_route_table_association.this]
}

resource "aws_vpc_endpoint" "local" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "GatewayLoadBalancer"
  service_name      = module.fleet.service_name
  subnet_ids        = [aws_subnet.this["endpoint"].id]
  tags              = { Name = "${var.name}-local" }
}

resource "aws_vpc_endpoint" "public" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "GatewayLoadBalancer"
  service_name      = module.fleet.service_name
  subnet_ids        = [aws_subnet.this["endpoint_public"].id]
  tags              = { Name = "${var.name}-public" }
}
