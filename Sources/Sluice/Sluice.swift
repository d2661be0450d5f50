// The whole appliance as a library: the packet loop and everything around it.
@_exported import Control
@_exported import SluiceCore
