# Where

variable "name" {
  description = "Name of the fleet; begins the name of everything it makes."
  type        = string
  default     = "sluice"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 24 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "vpc_id" {
  description = "VPC of the appliances and of the load balancer's nodes."
  type        = string
}

variable "subnets" {
  description = "Subnets for the appliances and the load balancer's nodes, one for each Availability Zone: zone name => id and CIDR."
  type        = map(object({ id = string, cidr = string }))

  validation {
    condition     = length(var.subnets) > 0
    error_message = "At least one subnet is needed; give one for each zone that has endpoints."
  }

  validation {
    condition     = alltrue([for subnet in var.subnets : can(cidrhost(subnet.cidr, 0))])
    error_message = "Each subnet needs its CIDR, like 10.0.1.0/24."
  }
}

variable "associate_public_ip_address" {
  description = "Give appliances public addresses. Only for subnets without a NAT gateway and without VPC endpoints for SSM, CloudWatch and S3."
  type        = bool
  default     = false
}

variable "https_egress_cidrs" {
  description = "Where appliances may open TCP 443: SSM, CloudWatch, Auto Scaling and package downloads. Narrow it to the VPC when all of these are VPC endpoints."
  type        = set(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.https_egress_cidrs : can(cidrhost(cidr, 0))])
    error_message = "Each entry is a CIDR."
  }
}

variable "tags" {
  description = "Tags for everything that takes tags."
  type        = map(string)
  default     = {}
}

# The load balancer

variable "cross_zone" {
  description = "Let a load balancer node use appliances of other zones. Costs traffic between zones; without it every zone needs an appliance of its own."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Refuse to delete the load balancer until this is set to false."
  type        = bool
  default     = true
}

variable "target_failover" {
  description = "What happens to the flows of an appliance that is deregistered or unhealthy: rebalance moves them to others, no_rebalance leaves them where they are. AWS wants one value for both events."
  type        = string
  default     = "rebalance"

  validation {
    condition     = contains(["rebalance", "no_rebalance"], var.target_failover)
    error_message = "One of rebalance, no_rebalance."
  }
}

variable "stickiness" {
  description = "What decides the appliance of a packet: 5-tuple, source_ip_dest_ip_proto or source_ip_dest_ip."
  type        = string
  default     = "5-tuple"

  validation {
    condition     = contains(["5-tuple", "source_ip_dest_ip_proto", "source_ip_dest_ip"], var.stickiness)
    error_message = "One of 5-tuple, source_ip_dest_ip_proto, source_ip_dest_ip."
  }
}

variable "tcp_idle_timeout" {
  description = "Seconds after which the load balancer forgets an idle TCP flow. AWS lets it be set only with 5-tuple stickiness; keep the appliance's flows.tcp-idle at least as long."
  type        = number
  default     = 350

  validation {
    condition     = var.tcp_idle_timeout >= 60 && var.tcp_idle_timeout <= 6000
    error_message = "60 to 6000 seconds."
  }
}

variable "deregistration_delay" {
  description = "Seconds that a deregistered appliance keeps its flows before they move and it is stopped."
  type        = number
  default     = 300

  validation {
    condition     = var.deregistration_delay >= 0 && var.deregistration_delay <= 3600
    error_message = "0 to 3600 seconds."
  }
}

variable "health_check" {
  description = "HTTP health check on /health: port, seconds between checks, seconds to wait, and how many results in a row change the state."
  type = object({
    port      = optional(number, 8080)
    interval  = optional(number, 10)
    timeout   = optional(number, 5)
    healthy   = optional(number, 2)
    unhealthy = optional(number, 2)
  })
  default = {}

  validation {
    condition     = var.health_check.port >= 1 && var.health_check.port <= 65535 && var.health_check.port != 6081
    error_message = "The port is 1 to 65535 and not 6081."
  }

  validation {
    condition     = var.health_check.interval >= 5 && var.health_check.interval <= 300 && var.health_check.timeout >= 2 && var.health_check.timeout <= var.health_check.interval
    error_message = "The interval is 5 to 300 seconds, the timeout from 2 seconds to the interval."
  }

  validation {
    condition     = min(var.health_check.healthy, var.health_check.unhealthy) >= 2 && max(var.health_check.healthy, var.health_check.unhealthy) <= 10
    error_message = "Both thresholds are 2 to 10."
  }
}

variable "allowed_principals" {
  description = "ARNs of the accounts (arn:aws:iam::ACCOUNT:root), users or roles that may create endpoints to this service. EC2 refuses those of sessions (arn:aws:sts::…:assumed-role/…), as SSO has them."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.allowed_principals : can(regex("^arn:[a-z-]+:iam::", arn))])
    error_message = "Each entry is an ARN of IAM, like arn:aws:iam::123456789012:root; \"*\" would let in every AWS account."
  }
}

variable "acceptance_required" {
  description = "New endpoints wait until they are accepted by hand."
  type        = bool
  default     = true
}

# The appliances

variable "instance_type" {
  description = "EC2 instance type. Its processor must be that of var.architecture."
  type        = string
  default     = "c6in.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "An instance type looks like c6in.large."
  }
}

variable "architecture" {
  description = "Processor architecture of the image and of the package: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "One of x86_64, arm64."
  }
}

variable "ami_id" {
  description = "Image to start, based on Amazon Linux 2023. Null takes the newest Amazon Linux 2023; then an apply after Amazon published one replaces the fleet."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "An image id looks like ami-0123456789abcdef0."
  }
}

variable "package" {
  description = "The RPM package of Sluice to install: its https:// or s3:// address, and its SHA-256 in hexadecimal, without which nothing is installed."
  type        = object({ url = string, sha256 = string })

  validation {
    condition     = can(regex("^(https://[A-Za-z0-9._~/%+-]+\\.rpm([?][A-Za-z0-9._~/%+=&:;-]+)?|s3://[A-Za-z0-9._~/%+-]+\\.rpm)$", var.package.url))
    error_message = "The address begins with https:// or s3:// and ends in .rpm; https:// may go on with a signature, ?X-Amz-…"
  }

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.package.sha256))
    error_message = "The SHA-256 has 64 lower-case hexadecimal digits."
  }
}

variable "configuration" {
  description = "The configuration file as text: policy, flows and whatever else differs from the defaults. Without health and drain, which come from variables of their own. Without listen.allow-sources, packets are taken from the subnets alone. Empty forwards everything."
  type        = string
  default     = ""

  validation {
    condition     = trimspace(var.configuration) == "" || can(keys(yamldecode(var.configuration)))
    error_message = "The text is not YAML with sections: file(\"sluice.yaml\"), not its name."
  }

  validation {
    condition     = length(setintersection(try(keys(yamldecode(var.configuration)), []), ["health", "drain"])) == 0
    error_message = "The sections health and drain come from the variables health_check and drain."
  }
}

variable "drain" {
  description = "How the service stops, in seconds: it forwards for at least minimum, until no packet came for idle, at most timeout."
  type = object({
    minimum = optional(number, 30)
    idle    = optional(number, 5)
    timeout = optional(number, 350)
  })
  default = {}

  validation {
    condition     = var.drain.idle >= 1 && var.drain.minimum >= 0 && var.drain.timeout >= var.drain.minimum && var.drain.timeout <= 6900
    error_message = "The timeout is at least the minimum and at most 6900 seconds, idle at least 1."
  }
}

variable "size" {
  description = "Number of appliances: at least, at most, and wanted now (null leaves that to Auto Scaling). Two or more for each zone survive the loss of one."
  type = object({
    min     = optional(number, 2)
    max     = optional(number, 6)
    desired = optional(number)
  })
  default = {}

  validation {
    condition     = var.size.min >= 1 && var.size.max >= var.size.min
    error_message = "At least one appliance, and max at least min."
  }
}

variable "warm_pool" {
  description = "Keep prepared appliances aside, so that scaling out takes seconds: their state (Stopped or Running) and how many at least. Null keeps none."
  type = object({
    state    = optional(string, "Stopped")
    min_size = optional(number, 1)
  })
  default = null

  validation {
    condition     = var.warm_pool == null || contains(["Stopped", "Running"], try(var.warm_pool.state, ""))
    error_message = "The state is Stopped or Running."
  }
}

variable "launch_timeout" {
  description = "Seconds that a new appliance has to install itself and be healthy before it is given up."
  type        = number
  default     = 600

  validation {
    condition     = var.launch_timeout >= 60 && var.launch_timeout <= 7200
    error_message = "60 to 7200 seconds."
  }
}

variable "root_volume_size" {
  description = "Size of the encrypted root volume in GiB."
  type        = number
  default     = 16

  validation {
    condition     = var.root_volume_size >= 8
    error_message = "Amazon Linux needs 8 GiB."
  }
}

# Watching

variable "kms_key_arn" {
  description = "Key that encrypts root volumes and logs. Null takes the keys that AWS keeps for the account."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days that logs are kept in CloudWatch."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "One of the numbers of days that CloudWatch offers, like 30 or 365."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear of alarms and of their end."
  type        = set(string)
  default     = []
}

variable "alarm_drop_reasons" {
  description = "Drop reasons that nobody's policy asked for: an alarm for each."
  type        = set(string)
  default     = ["aws_options", "flow_table_full", "geneve_malformed", "outer_malformed", "send", "too_big"]

  validation {
    condition = length(setsubtract(var.alarm_drop_reasons, [
      "aws_options", "default", "flow_table_full", "fragment", "geneve_control", "geneve_critical_option",
      "geneve_malformed", "geneve_protocol", "geneve_version", "inner_header_checksum", "inner_malformed",
      "outer_checksum", "outer_malformed", "outer_ttl", "processor", "rule", "send", "source_not_allowed", "too_big", "unknown_tcp",
    ])) == 0
    error_message = "Each entry is a label `reason` of sluice_packets_dropped_total."
  }
}

variable "alarm_drops_per_minute" {
  description = "Packets of one such reason, or lost by the kernel, in a minute, for three minutes, that raise an alarm."
  type        = number
  default     = 100

  validation {
    condition     = var.alarm_drops_per_minute >= 0
    error_message = "Zero or more."
  }
}
