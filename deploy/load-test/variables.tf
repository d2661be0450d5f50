variable "region" {
  description = "Region to measure in."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like eu-central-1."
  }
}

variable "zone" {
  description = "Availability Zone of both instances. Null takes the first of the region; not every zone has every type."
  type        = string
  default     = null

  validation {
    condition     = var.zone == null || startswith(coalesce(var.zone, "-"), var.region)
    error_message = "The zone lies in var.region, like eu-central-1a."
  }
}

variable "name" {
  description = "Name of the load test; begins the name of everything it makes."
  type        = string
  default     = "sluice-load-test"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "appliance_type" {
  description = "Instance type under test. It must allow cluster placement groups, which burstable types (t3, t4g) do not."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.appliance_type)) && !can(regex("^t[0-9]", var.appliance_type))
    error_message = "An instance type like c6in.large; burstable types (t3, t4g) are refused in cluster placement groups."
  }
}

variable "generator_type" {
  description = "Instance type of the generator, of the same architecture; larger than the one under test, or it is the limit."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.generator_type)) && !can(regex("^t[0-9]", var.generator_type))
    error_message = "An instance type like c6in.8xlarge; burstable types (t3, t4g) are refused in cluster placement groups."
  }
}

variable "architecture" {
  description = "Processor architecture of both types and of the package: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "One of x86_64, arm64."
  }
}

variable "packages" {
  description = "The RPM packages to install, each by its https:// or s3:// address and its SHA-256: sluice on the appliance, sluice-tools (which holds sluice-gen) on the generator."
  type = object({
    appliance = object({ url = string, sha256 = string })
    generator = object({ url = string, sha256 = string })
  })

  validation {
    condition     = alltrue([for package in var.packages : can(regex("^(https://[A-Za-z0-9._~/%+-]+\\.rpm([?][A-Za-z0-9._~/%+=&:;-]+)?|s3://[A-Za-z0-9._~/%+-]+\\.rpm)$", package.url))])
    error_message = "Each address begins with https:// or s3:// and ends in .rpm."
  }

  validation {
    condition     = alltrue([for package in var.packages : can(regex("^[0-9a-f]{64}$", package.sha256))])
    error_message = "Each SHA-256 has 64 lower-case hexadecimal digits."
  }
}
