/// What the control side must know of one processor: names, sizes, and who takes its events.
@safe public struct ProcessorPart: Sendable {
    /// Cases of its `Counter`, and where they are counted.
    public let counters: [(name: String, slot: Int)]
    /// Bytes of an event.
    public let eventSize: Int
    /// It decides by the section `policy`.
    public let decidesByPolicy: Bool
    private let handle: @Sendable (UnsafeRawPointer, EventLog) -> Void

    /// - Precondition: `Counter` is an enumeration without associated values.
    public init<Processor: PacketProcessor & ~Copyable>(_ type: Processor.Type) {
        precondition(
            MemoryLayout<Processor.Counter>.size <= 1,
            "\(Processor.Counter.self) is to be an enumeration without associated values")
        precondition(MemoryLayout<Processor.Event>.alignment <= WorkerLink.eventAlignment)
        counters = Processor.Counter.allCases.map { ("\($0)", ProcessorPart.slot(of: $0)) }
        eventSize = MemoryLayout<Processor.Event>.size
        decidesByPolicy = Processor.decidesByPolicy
        unsafe handle = { bytes, log in
            // Sound: this part's events are of this type.
            unsafe Processor.handle(bytes.load(as: Processor.Event.self), log: log)
        }
    }

    /// Where a case is counted: its one byte.
    @inlinable @inline(__always)
    static func slot<Counter>(of counter: Counter) -> Int {
        guard MemoryLayout<Counter>.size == 1 else { return 0 }
        // Sound: one byte is one byte, whatever it means.
        return unsafe Int(unsafeBitCast(counter, to: UInt8.self))
    }

    /// - Parameter bytes: an event of this part.
    @unsafe
    func take(_ bytes: UnsafeRawPointer, log: EventLog) { unsafe handle(bytes, log) }
}

/// Where what a processor has to say about its events goes: lines in the appliance's log.
public struct EventLog {
    private let write: (_ line: String, _ isWarning: Bool) -> Void
    private let takeWhole: (any Sendable) -> Void

    /// - Parameter event: takes events of which the control side makes the line.
    public init(
        event: @escaping (any Sendable) -> Void = { _ in },
        write: @escaping (_ line: String, _ isWarning: Bool) -> Void
    ) {
        takeWhole = event
        self.write = write
    }

    /// One line. Bytes from the network may be in it: control characters are escaped.
    public func info(_ line: String) { write(EventLog.printable(line), false) }
    public func warning(_ line: String) { write(EventLog.printable(line), true) }

    /// An event whose line needs what only the control side knows.
    public func event(_ event: some Sendable) { takeWhole(event) }

    private static func printable(_ line: String) -> String {
        var text = ""
        for scalar in line.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned:
                text += scalar.escaped(asASCII: true)
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}
