import Sluice

/// Counts packets by the length of their inner IP packet, in bytes, and forwards all of them: the
/// metrics are `sluice_processor_size_to128_total` and so on.
struct SizeHistogram: PacketProcessor {
    enum Counter: CaseIterable {
        case sizeTo128, sizeTo256, sizeTo512, sizeTo1024, sizeTo1500, sizeAbove1500
    }

    init(configuration: NoConfiguration, worker: Int) {}

    @inline(__always)
    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        let size: Counter =
            switch packet.length {
            case ...128: .sizeTo128
            case ...256: .sizeTo256
            case ...512: .sizeTo512
            case ...1024: .sizeTo1024
            case ...1500: .sizeTo1500
            default: .sizeAbove1500
            }
        context.count(size)
        return .forward
    }
}
