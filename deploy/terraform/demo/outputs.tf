output "region" {
  description = "Region of the demo."
  value       = var.region
}

output "host_instance_ids" {
  description = "Instance ids of the hosts a, b and c."
  value       = { for host, instance in aws_instance.host : host => instance.id }
}

output "host_private_ips" {
  description = "Private addresses of the hosts a, b and c."
  value       = { for host, instance in aws_instance.host : host => instance.private_ip }
}

output "host_public_ips" {
  description = "Public addresses of the hosts a, b and c; c's is behind the appliance."
  value       = { for host, instance in aws_instance.host : host => instance.public_ip }
}

output "autoscaling_group_name" {
  description = "Auto Scaling group of the appliance."
  value       = module.fleet.autoscaling_group_name
}

output "target_group_arn" {
  description = "Target group, to ask for the appliance's health."
  value       = module.fleet.target_group_arn
}

output "endpoint_ids" {
  description = "The local and the public endpoint, as they appear in the label endpoint of Sluice's metrics."
  value       = { local = aws_vpc_endpoint.local.id, public = aws_vpc_endpoint.public.id }
}
