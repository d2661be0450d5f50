import Sluice

Appliance.main(Chain<EgressLogger, Rules>.self)
