import Sluice

Appliance.main(SizeHistogram.self)
