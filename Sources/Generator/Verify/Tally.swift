import Verification

/// What one thread has counted.
struct Tally: Sendable {
    struct Class: Sendable, BitwiseCopyable {
        var sent: UInt64 = 0
        var received: UInt64 = 0
        var expectedDrops: UInt64 = 0
        var lost: UInt64 = 0
    }

    /// By the numbers of `TrafficClass`.
    var classes = [16 of Class](repeating: Class())
    /// By the order of `Violation.allCases`.
    var violations = [16 of UInt64](repeating: 0)
    /// Outer IPv4 bytes sent.
    var bytes: UInt64 = 0
    /// Packets that the interface refused.
    var refused: UInt64 = 0
    /// Packets that came back but found the receive ring full.
    var overflow: UInt64 = 0
    /// Packets sent so late that the schedule was not kept.
    var slipped: UInt64 = 0
    /// The furthest that sending fell behind the schedule, nanoseconds.
    var behind: UInt64 = 0
    /// When the first and the last packet was sent, nanoseconds since 1970.
    var firstSent: UInt64 = 0
    var lastSent: UInt64 = 0
    /// When the last was due.
    var lastDue: UInt64 = 0

    @inline(__always)
    mutating func add(_ violation: Violation) { violations[Int(Self.index(violation))] &+= 1 }

    /// The place in `Violation.allCases`, without looking it up there.
    @inline(__always)
    private static func index(_ violation: Violation) -> UInt8 {
        switch violation {
        case .addresses: 0
        case .ports: 1
        case .geneve: 2
        case .outerChecksum: 3
        case .innerChecksum: 4
        case .payload: 5
        case .unexpected: 6
        case .missingDrop: 7
        case .duplicate: 8
        case .reordered: 9
        case .late: 10
        }
    }

    subscript(_ violation: Violation) -> UInt64 { violations[Int(Self.index(violation))] }

    /// All classes together.
    var total: Class {
        var total = Class()
        for i in classes.indices {
            total.sent += classes[i].sent
            total.received += classes[i].received
            total.expectedDrops += classes[i].expectedDrops
            total.lost += classes[i].lost
        }
        return total
    }

    var violationTotal: UInt64 {
        violations.indices.reduce(0) { $0 + violations[$1] }
    }

    /// Packets that may still come back.
    var outstanding: UInt64 {
        let total = total
        let settled = total.received + total.expectedDrops + total.lost
        return total.sent > settled ? total.sent - settled : 0
    }

    mutating func add(_ other: Tally) {
        for i in classes.indices {
            classes[i].sent += other.classes[i].sent
            classes[i].received += other.classes[i].received
            classes[i].expectedDrops += other.classes[i].expectedDrops
            classes[i].lost += other.classes[i].lost
        }
        for i in violations.indices { violations[i] += other.violations[i] }
        bytes += other.bytes
        refused += other.refused
        overflow += other.overflow
        slipped += other.slipped
        behind = max(behind, other.behind)
        if other.firstSent > 0 {
            firstSent = firstSent == 0 ? other.firstSent : min(firstSent, other.firstSent)
        }
        lastSent = max(lastSent, other.lastSent)
        lastDue = max(lastDue, other.lastDue)
    }
}
