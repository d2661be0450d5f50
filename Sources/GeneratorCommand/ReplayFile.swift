import Capture
import Generator

/// The packets of `--replay`.
enum ReplayFile {
    /// Inner packets in the order of the capture.
    static func packets(_ path: String) throws(Complaint) -> [[UInt8]] {
        let capture: CaptureFile
        do {
            capture = try CaptureFile(path: path)
        } catch {
            throw Complaint(.usage, "--replay: \(error)")
        }
        let packets = capture.packets.map { Array(capture.bytes(of: $0)) }
        guard !packets.isEmpty else {
            throw Complaint(.usage, "--replay: \(path) has no IP packet to send")
        }
        let limit = SizeMix.allowed.upperBound
        guard packets.allSatisfy({ $0.count <= limit }) else {
            throw Complaint(
                .usage, "--replay: \(path) has packets above \(limit) bytes, GWLB carries none")
        }
        return packets
    }
}
