variable "region" {
  description = "Region to build the demo in."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like eu-central-1."
  }
}

variable "zone" {
  description = "Availability Zone of everything. Null takes the first of the region."
  type        = string
  default     = null

  validation {
    condition     = var.zone == null || startswith(coalesce(var.zone, "-"), var.region)
    error_message = "The zone lies in var.region, like eu-central-1a."
  }
}

variable "name" {
  description = "Name of the demo; begins the name of everything it makes. Another name makes a second demo beside the first."
  type        = string
  default     = "sluice-demo"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "host_instance_type" {
  description = "Instance type of the hosts a, b and c (x86-64)."
  type        = string
  default     = "t3.micro"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.host_instance_type))
    error_message = "An instance type looks like t3.micro."
  }
}

variable "appliance_instance_type" {
  description = "Instance type of the appliance (x86-64)."
  type        = string
  default     = "t3.micro"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.appliance_instance_type))
    error_message = "An instance type looks like t3.micro."
  }
}

variable "ami_id" {
  description = "Amazon Linux 2023 image (x86-64) for all instances. Null takes the newest."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "An image id looks like ami-0123456789abcdef0."
  }
}

variable "package" {
  description = "The RPM package of Sluice (x86-64): its https:// or s3:// address and its SHA-256."
  type        = object({ url = string, sha256 = string })
}

variable "chat_cidrs" {
  description = "Who may send UDP 3000 to host c from the Internet, as anyone could in the blog's demo. Narrow it to your own address, like [\"203.0.113.7/32\"]."
  type        = set(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.chat_cidrs : can(cidrhost(cidr, 0))])
    error_message = "Each entry is a CIDR."
  }
}

variable "policy_file" {
  description = "Configuration file of the appliance, without health and drain. Null takes the blog's rules, deploy/examples/blog.yaml."
  type        = string
  default     = null
}
