import Capture
import Generator
import Support

/// The packets of `--replay`.
enum ReplayFile {
    /// Inner packets in the order of the capture.
    static func packets(_ path: String) throws(Failure) -> [[UInt8]] {
        let capture: CaptureFile
        do {
            capture = try CaptureFile(path: path)
        } catch {
            throw Failure(.usage, "--replay: \(error)")
        }
        let packets = capture.packets.map { Array(capture.bytes(of: $0)) }
        guard !packets.isEmpty else {
            throw Failure(.usage, "--replay: \(path) has no IP packet to send")
        }
        let limit = SizeMix.allowed.upperBound
        guard packets.allSatisfy({ $0.count <= limit }) else {
            throw Failure(
                .usage, "--replay: \(path) has packets above \(limit) bytes, GWLB carries none")
        }
        return packets
    }
}
