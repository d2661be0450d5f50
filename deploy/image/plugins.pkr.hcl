# For `packer init`. By itself, since the release of Packer that Debian packages and the tests use has
# the Amazon builder built in and does not know this block.
packer {
  required_plugins {
    amazon = {
      version = ">= 1.2.0"
      source  = "github.com/hashicorp/amazon"
    }
  }
}
