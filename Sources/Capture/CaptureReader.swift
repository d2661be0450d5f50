/// The frames of a capture file, one after the other: a file of any size, since only the record at
/// hand is in memory.
///
/// Reads pcap (both byte orders, microseconds and nanoseconds) and pcapng, of Ethernet (with
/// VLAN tags), raw IP, Linux cooked (SLL, SLL2) and null/loopback links. Every length in the file
/// is hostile: it is held against the bytes that are there before it is used.
public struct CaptureReader {
    private let name: String
    private let file: FileWindow
    private var parser: CaptureParser
    /// Frames read so far.
    public private(set) var count = 0

    /// - Throws: what is wrong with the file, by its name.
    public init(path: String) throws(WholeFile.Failure) {
        self.init(try FileWindow(path: path), name: path)
    }

    /// - Parameter name: for the errors.
    public init(bytes: [UInt8], name: String) {
        self.init(FileWindow(bytes: bytes), name: name)
    }

    private init(_ file: FileWindow, name: String) {
        self.name = name
        self.file = file
        parser = CaptureParser(file)
    }

    /// The same file from its beginning.
    public var rewound: CaptureReader { CaptureReader(file, name: name) }

    /// The file ended within a record, as one of a tcpdump that was killed does.
    public var isCutShort: Bool { parser.isCutShort }

    /// Nil at the end. - Throws: what is wrong with the file, by its name.
    public mutating func next() throws(WholeFile.Failure) -> CaptureFrame? {
        do throws(CaptureParser.Fault) {
            guard let record = try parser.next() else { return nil }
            count += 1
            return CaptureFrame(
                number: count, time: record.time, length: max(record.length, record.bytes.count),
                content: FrameParser.content(of: record))
        } catch {
            throw WholeFile.Failure(name, error.text)
        }
    }
}
