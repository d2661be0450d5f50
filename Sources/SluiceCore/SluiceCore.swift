// The hot modules under one name: packet formats, packet I/O and the packet loop. No third-party
// dependency and no Foundation.
@_exported import Dataplane
@_exported import PacketIO
@_exported import RuleEngine
@_exported import Wire
