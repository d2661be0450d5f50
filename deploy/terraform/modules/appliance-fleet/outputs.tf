output "service_name" {
  description = "Service name for aws_vpc_endpoint of type GatewayLoadBalancer."
  value       = aws_vpc_endpoint_service.this.service_name
}

output "load_balancer_arn" {
  description = "ARN of the Gateway Load Balancer."
  value       = aws_lb.this.arn
}

output "listener_arn" {
  description = "ARN of the listener, to change attributes that the provider does not know."
  value       = aws_lb_listener.this.arn
}

output "target_group_arn" {
  description = "ARN of the target group, to ask for the health of the appliances."
  value       = aws_lb_target_group.this.arn
}

output "autoscaling_group_name" {
  description = "Name of the Auto Scaling group, to find, scale or refresh the appliances."
  value       = aws_autoscaling_group.this.name
}

output "security_group_id" {
  description = "Security group of the appliances."
  value       = aws_security_group.appliance.id
}

output "role_name" {
  description = "IAM role of the appliances, to attach what a policy of one's own needs."
  value       = aws_iam_role.appliance.name
}

output "log_group_names" {
  description = "CloudWatch log groups: service and metrics."
  value       = { for key, group in aws_cloudwatch_log_group.this : key => group.name }
}
