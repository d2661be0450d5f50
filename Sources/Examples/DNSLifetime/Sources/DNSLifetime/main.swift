import Sluice

Appliance.main(Chain<DNSLifetime, Rules>.self)
