import Wire

/// A capture file: every frame of it, and the IP packets for replay, those inside Geneve when the
/// file holds Geneve, the plain ones otherwise.
///
/// Reads pcap (both byte orders, microseconds and nanoseconds) and pcapng, of Ethernet (with
/// VLAN tags), raw IP, Linux cooked (SLL, SLL2) and null/loopback links. Every length in the file
/// is hostile: it is held against the bytes that are there before it is used.
public struct CaptureFile: Sendable {
    /// One packet: an IP header and everything its length says.
    public struct Packet: Equatable, Sendable {
        /// Nanoseconds since 1970, or since whatever the file counts from.
        public var time: UInt64
        /// Where it stands in the file's bytes.
        let range: Range<Int>
        /// Bytes.
        public var count: Int { range.count }
    }

    /// Frames of which no packet was taken, by reason.
    public struct Skipped: Equatable, Sendable {
        /// Neither IPv4 nor IPv6, ARP for one.
        public var notIP = 0
        /// Captured with fewer bytes than the packet had (tcpdump's `-s`).
        public var truncated = 0
        /// An impossible IP or Geneve header.
        public var malformed = 0
        /// Geneve in outer fragments, which are not put together.
        public var outerFragments = 0
        /// Plain packets beside Geneve: health checks, for one.
        public var plain = 0
        /// Geneve on the way back from the appliance: the same packets a second time.
        public var returned = 0

        public var total: Int {
            notIP + truncated + malformed + outerFragments + plain + returned
        }
    }

    /// One record of the file.
    public struct Frame: Equatable, Sendable {
        /// From 1 on, as Wireshark counts.
        public var number: Int
        /// As `Packet.time`.
        public var time: UInt64
        /// Bytes that the frame had on its link.
        public var length: Int
        public var content: Content
    }

    /// What a frame is to an appliance.
    public enum Content: Equatable, Sendable {
        /// An IP packet outside Geneve, malformed ones included.
        case plain(Packet)
        /// Geneve on the way to an appliance, whatever is in it: the whole outer IP packet.
        case geneve(Packet)
        case skipped(Reason)
    }

    /// Why a frame holds no packet to look at: see `Skipped`.
    public enum Reason: Equatable, Sendable {
        case notIP, truncated, malformed, outerFragment, returned
    }

    /// In the order of the file.
    public private(set) var frames: [Frame] = []
    /// In the order of the file.
    public private(set) var packets: [Packet] = []
    public private(set) var skipped = Skipped()
    /// The packets stood inside Geneve.
    public private(set) var isGeneve = false
    /// The file ends within a record, as one of a tcpdump that was killed does.
    public private(set) var isCutShort = false
    private let bytes: [UInt8]

    /// The longest file that is read, bytes.
    public static let largestFile = 1 << 30

    /// Reads a file. - Throws: what is wrong with it, by its name.
    public init(path: String, mayBeEmpty: Bool = false) throws(WholeFile.Failure) {
        try self.init(
            bytes: WholeFile.bytes(of: path, limit: Self.largestFile), name: path,
            mayBeEmpty: mayBeEmpty)
    }

    /// Reads a file's bytes; `name` is for the errors.
    ///
    /// - Parameter mayBeEmpty: a file without a packet to replay is no error.
    public init(
        bytes: [UInt8], name: String, mayBeEmpty: Bool = false
    ) throws(WholeFile.Failure) {
        var bytes = bytes
        var parser = CaptureParser()
        do throws(CaptureParser.Fault) {
            try withPacketView(&bytes) { view throws(CaptureParser.Fault) in
                try parser.read(view)
            }
        } catch {
            throw WholeFile.Failure(name, error.text)
        }
        self.bytes = bytes
        let sorter = parser.sorter
        skipped = sorter.skipped
        isCutShort = parser.isCutShort
        isGeneve = !sorter.encapsulated.isEmpty
        packets = isGeneve ? sorter.encapsulated : sorter.plain
        if isGeneve { skipped.plain = sorter.plain.count }
        frames = sorter.frames
        guard !packets.isEmpty || mayBeEmpty else {
            throw WholeFile.Failure(
                name, "holds no IP packet that can be replayed (\(skipped.total) frames skipped)")
        }
    }

    /// The bytes of a packet.
    public func bytes(of packet: Packet) -> ArraySlice<UInt8> { bytes[packet.range] }
}
