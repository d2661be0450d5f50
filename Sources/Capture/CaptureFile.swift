/// The IP packets of a capture file for replay: those inside Geneve when the file holds Geneve, the
/// plain ones otherwise.
public struct CaptureFile: Sendable {
    /// One packet: an IP header and everything its length says.
    public struct Packet: Equatable, Sendable {
        /// As `CaptureFrame.time`.
        public var time: UInt64
        public var bytes: [UInt8]
    }

    /// Frames of which no packet was taken, by reason.
    public struct Skipped: Equatable, Sendable {
        public var notIP = 0
        public var otherLink = 0
        public var truncated = 0
        public var malformed = 0
        public var outerFragments = 0
        /// Plain packets beside Geneve: health checks, for one.
        public var plain = 0
        /// Geneve on the way back from the appliance: the same packets a second time.
        public var returned = 0

        public var total: Int {
            notIP + otherLink + truncated + malformed + outerFragments + plain + returned
        }

        fileprivate mutating func count(_ reason: CaptureFrame.Reason) {
            switch reason {
            case .notIP: notIP += 1
            case .linkType: otherLink += 1
            case .truncated: truncated += 1
            case .malformed: malformed += 1
            case .outerFragment: outerFragments += 1
            }
        }
    }

    /// In the order of the file.
    public private(set) var packets: [Packet] = []
    public private(set) var skipped = Skipped()
    /// The packets stood inside Geneve.
    public let isGeneve: Bool
    /// The file ends within a record.
    public private(set) var isCutShort = false

    /// Packets that are kept at most, bytes.
    public static let mostBytes = 1 << 30

    /// Reads a file. - Throws: what is wrong with it, by its name.
    public init(path: String) throws(WholeFile.Failure) {
        try self.init(CaptureReader(path: path), name: path)
    }

    /// Reads a file's bytes; `name` is for the errors.
    public init(bytes: [UInt8], name: String) throws(WholeFile.Failure) {
        try self.init(CaptureReader(bytes: bytes, name: name), name: name)
    }

    private init(_ reader: CaptureReader, name: String) throws(WholeFile.Failure) {
        let overview = try CaptureOverview(reader)
        isGeneve = overview.isGeneve
        var reader = reader.rewound
        var kept = 0
        while let frame = try reader.next() {
            guard let bytes = packet(frame, overview) else { continue }
            kept += bytes.count
            guard kept <= CaptureFile.mostBytes else {
                throw WholeFile.Failure(
                    name,
                    "more than the \(CaptureFile.mostBytes >> 20) MiB of packets that are kept")
            }
            packets.append(Packet(time: frame.time, bytes: bytes))
        }
        isCutShort = reader.isCutShort
        guard !packets.isEmpty else {
            throw WholeFile.Failure(
                name, "holds no IP packet that can be replayed (\(skipped.total) frames skipped)")
        }
    }

    private mutating func packet(_ frame: CaptureFrame, _ overview: CaptureOverview) -> [UInt8]? {
        switch frame.content {
        case .plain(let bytes):
            guard isGeneve else { return bytes }
            skipped.plain += 1
        case .malformed: skipped.malformed += 1
        case .skipped(let reason): skipped.count(reason)
        case .geneve(let outer) where overview.isReturned(outer): skipped.returned += 1
        case .geneve(let outer):
            switch outer.inner {
            case .packet(let range): return Array(outer.bytes[range])
            case .skipped(let reason): skipped.count(reason)
            }
        }
        return nil
    }
}
