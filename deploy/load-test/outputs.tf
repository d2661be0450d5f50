output "generator_id" {
  description = "Instance id of the generator."
  value       = aws_instance.this["generator"].id
}

output "appliance_id" {
  description = "Instance id of the appliance."
  value       = aws_instance.this["appliance"].id
}

output "appliance_ip" {
  description = "Private address of the appliance, the target of the load."
  value       = aws_instance.this["appliance"].private_ip
}
