# Bakes a release of Sluice into an image of Amazon Linux 2023 or Debian 12, so that an instance starts
# in seconds and needs no download:
#
#   packer init deploy/image
#   packer build -only='*.al2023' -var region=eu-central-1 -var subnet_id=subnet-… -var builder_cidr=… \
#       -var release_url=https://… -var release_sha256=… deploy/image
#
# The fleet takes the image by an SSM parameter (ImageId of the stack):
#
#   aws ssm put-parameter --name /sluice/image --type String --data-type aws:ec2:image --value ami-…

variable "region" {
  type        = string
  description = "Region to build in; the image belongs to it."
}

variable "subnet_id" {
  type        = string
  description = "Subnet of the building instance, with a way to the release and to the distribution's packages."
}

variable "builder_cidr" {
  type        = string
  description = "Who may reach the building instance by SSH for as long as it lives: your address, such as 192.0.2.1/32."

  validation {
    condition     = can(cidrhost(var.builder_cidr, 0)) && split("/", var.builder_cidr)[1] >= 24
    error_message = "An IPv4 prefix of /24 or longer is needed."
  }
}

variable "instance_type" {
  type        = string
  default     = "c6in.large"
  description = "Type of the building instance; its architecture is the image's."
}

variable "architecture" {
  type        = string
  default     = "x86_64"
  description = "Architecture of the image and of the release: x86_64 or arm64."

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture is x86_64 or arm64."
  }
}

variable "release_url" {
  type        = string
  description = "Where the release's package is: an RPM for Amazon Linux, a deb for Debian."

  validation {
    condition     = substr(var.release_url, 0, 8) == "https://"
    error_message = "The release's URL begins with https://."
  }
}

variable "release_sha256" {
  type        = string
  description = "SHA-256 of the package; one that differs is not installed."

  validation {
    condition     = length(var.release_sha256) == 64 && var.release_sha256 == lower(var.release_sha256)
    error_message = "A SHA-256 has 64 hexadecimal digits, letters in lower case."
  }
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "Key that encrypts the image; empty takes the account's default key."
}

locals {
  stamp = formatdate("YYYYMMDD-hhmmss", timestamp())
  # What Debian calls the architectures.
  debian_architecture = { x86_64 = "amd64", arm64 = "arm64" }
  tags = {
    Name    = "sluice"
    Release = basename(var.release_url)
    Base    = "{{ .SourceAMIName }}"
  }
}

source "amazon-ebs" "al2023" {
  region                                = var.region
  subnet_id                             = var.subnet_id
  instance_type                         = var.instance_type
  ami_name                              = "sluice-al2023-${var.architecture}-${local.stamp}"
  ami_description                       = "Sluice on Amazon Linux 2023"
  ssh_username                          = "ec2-user"
  temporary_security_group_source_cidrs = [var.builder_cidr]
  encrypt_boot                          = true
  kms_key_id                            = var.kms_key_id
  tags                                  = local.tags
  run_tags                              = { Name = "sluice image builder" }

  source_ami_filter {
    owners      = ["amazon"]
    most_recent = true
    filters = {
      name                = "al2023-ami-2023.*-kernel-*-${var.architecture}"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

source "amazon-ebs" "debian" {
  region                                = var.region
  subnet_id                             = var.subnet_id
  instance_type                         = var.instance_type
  ami_name                              = "sluice-debian-${var.architecture}-${local.stamp}"
  ami_description                       = "Sluice on Debian 12"
  ssh_username                          = "admin"
  temporary_security_group_source_cidrs = [var.builder_cidr]
  encrypt_boot                          = true
  kms_key_id                            = var.kms_key_id
  tags                                  = local.tags
  run_tags                              = { Name = "sluice image builder" }

  source_ami_filter {
    # The Debian project's own account.
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "debian-12-${local.debian_architecture[var.architecture]}-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

build {
  sources = ["source.amazon-ebs.al2023", "source.amazon-ebs.debian"]

  provisioner "shell" {
    script          = "${path.root}/bake"
    execute_command = "sudo env {{ .Vars }} {{ .Path }}"
    environment_vars = [
      "RELEASE_URL=${var.release_url}",
      "RELEASE_SHA256=${var.release_sha256}",
    ]
  }

  post-processor "manifest" {
    output = "sluice-image.json"
  }
}
