import CSluice
import Glibc
import Histogram
import Verification
import Wire

/// Sends' other half: what one thread knows of the packets it has sent, and what it thinks of
/// those that come back.
///
/// A returned packet carries the stamp it was sent with. The packet that should have come back
/// under that stamp is built anew and held against it, all bytes from the Geneve header on at
/// once; only when they differ is it asked why.
///
/// Its memory is its own, and what indexes it comes from its own log, never from a packet: safe for
/// any packet. A pointer to a flight is used only until the next packet is noted.
@safe struct Verifier: ~Copyable {
    let traffic: Traffic
    private let thread: UInt32
    private let threads: UInt32
    private let nodes: [UInt32]
    private let target: UInt32
    /// Nanoseconds.
    private let lateAfter: UInt64
    let templates: UnsafeMutablePointer<PacketTemplate>
    var log: FlightLog
    /// The newest number that came back, for each flow and direction of this thread; 0 = none.
    private let newest: UnsafeMutablePointer<UInt32>
    private let lanes: Int
    /// Where the expected packet is built.
    private let expected: UnsafeMutableRawPointer
    var tally = Tally()
    var latencies = Verifier.emptyHistogram()
    /// Malformed packets sent and come back, by their numbers.
    var malformedSent: [UInt64]
    private var malformedBack: [UInt64]
    /// With a capture: what of it is out.
    private var window: ReplayWindow?

    /// Up to a minute, with two significant digits.
    static func emptyHistogram() -> Histogram<UInt64> {
        Histogram(
            lowestDiscernibleValue: 1, highestTrackableValue: 64_000_000_000,
            numberOfSignificantValueDigits: .two)
    }

    /// - Parameters:
    ///   - thread: which one of the plan's threads.
    ///   - memory: packets that are remembered; a power of two.
    init(_ traffic: Traffic, nodes: [UInt32], thread: Int, memory: Int) {
        let plan = traffic.plan
        self.traffic = traffic
        self.thread = UInt32(thread)
        self.nodes = nodes
        threads = UInt32(plan.threads)
        target = plan.target
        lateAfter = UInt64(plan.lateAfter * 1e9)
        // Sound: `templates` has room for the library's, zeroes are numbers, and a library is not
        // empty.
        unsafe templates = UnsafeMutablePointer.allocate(capacity: traffic.library.templates.count)
        unsafe templates.initialize(
            from: traffic.library.templates, count: traffic.library.templates.count)
        log = FlightLog(capacity: memory)
        lanes = (plan.flows / plan.threads + 1) * 2
        unsafe newest = unsafe calloc(lanes, 4)!.assumingMemoryBound(to: UInt32.self)
        unsafe expected = UnsafeMutableRawPointer.allocate(byteCount: 65_536, alignment: 64)
        malformedSent = [UInt64](repeating: 0, count: traffic.malformed.count)
        malformedBack = malformedSent
        window = traffic.replay.map { ReplayWindow(contents: $0.contents.count) }
        // Their flights name no template; the first one stands for them.
        if window != nil { unsafe templates[0].trafficClass = TrafficClass.replay.rawValue }
    }

    // Sound: init allocated them.
    deinit {
        unsafe templates.deallocate()
        unsafe free(newest)
        unsafe expected.deallocate()
    }

    // ---- What was sent.

    /// Counts packets as lost that were due before `time` and are not back.
    mutating func settle(dueBefore time: UInt64, atMost limit: Int) {
        for _ in 0..<limit {
            // Sound: nothing is noted in between.
            guard let flight = unsafe log.settle(dueBefore: time) else { return }
            unsafe settle(flight)
        }
    }

    @inline(__always)
    private mutating func settle(_ flight: UnsafeMutablePointer<Flight>) {
        // Sound: the log's own flight, which names a template of the library.
        guard unsafe !flight.pointee.isBack, unsafe !flight.pointee.expectsDrop else { return }
        unsafe flight.pointee.noteLost()
        unsafe tally.classes[Int(templates[Int(flight.pointee.template)].trafficClass)].lost &+= 1
    }

    /// Makes room for one more packet.
    @inline(__always)
    mutating func makeRoom() {
        // Sound: as settle.
        if log.isFull, let flight = unsafe log.settle(dueBefore: .max) { unsafe settle(flight) }
    }

    /// At the end: malformed packets that should have passed and did not.
    mutating func settleMalformed() {
        for (number, packet) in traffic.malformed.enumerated() where !packet.expectsDrop {
            let back = min(malformedBack[number], malformedSent[number])
            let lost = malformedSent[number] - back
            tally.classes[Int(TrafficClass.malformed.rawValue)].lost += lost
        }
    }

    /// Notes the packet of a capture that is sent under the log's next number.
    mutating func noteReplay(_ item: ReplayCorpus.Item, due: UInt64) {
        makeRoom()
        if !item.expectsDrop {
            window?.forget(item.content, before: log.next &- log.count)
            window?.sent(item.content, log.next)
        }
        log.add(
            Flight(
                due: due, flow: item.flow, sequence: 0, template: 0, generation: 0, isReply: false,
                expectsDrop: item.expectsDrop))
    }

    // ---- What came back.

    /// Judges a frame that came in.
    /// - Parameters:
    ///   - view: from the outer IPv4 header on; may have trailing bytes.
    ///   - arrival: nanoseconds since 1970.
    ///   - isPartial: the outer UDP checksum was left to a network card and is not there.
    @inline(__always)
    mutating func judge(_ view: PacketView, arrival: UInt64, isPartial: Bool) {
        if window != nil { return judgeReplay(view, arrival, isPartial) }
        // Outer header without options, as nearly always; all lengths in agreement.
        guard view.count >= Encapsulation.overhead + 8, view.u8(0) == 0x45,
            view.u8(29 - 1) == 0x08, Int(view.u16(2)) <= view.count
        else { return judgeOddOne(view) }
        let end = Int(view.u16(2))
        let port = view.u16(20)
        guard end >= Encapsulation.overhead + 8, Int(view.u16(24)) == end - 20,
            port &- MalformedTraffic.firstPort >= UInt16(truncatingIfNeeded: malformedSent.count)
        else { return judgeOddOne(view) }
        let stamp = Encapsulation.overhead + (end - Encapsulation.overhead - 4) & ~1
        let mark = view.u32(stamp)
        // Sound: `number` is in the log; `expected` has room for any IPv4 packet; and both packets
        // are found to be equally long, and to lie within their views, before they are compared.
        guard let number = log.number(of: mark) else { return judgeOddOne(view) }
        let flight = unsafe log.flight(number)
        let sent = unsafe flight.pointee
        let flow = traffic.model.identity(sent.flow, sent.generation)
        let template = unsafe answer(sent)
        unsafe template.write(
            flow, isReply: sent.isReply, mark: mark, sequence: sent.sequence, to: expected)
        let right = unsafe PacketView(unsafeBase: expected, count: template.pointee.length)
        guard end == right.count, view.u32(12) == target, view.u32(16) == flow.node,
            view.u32(20) == right.u32(20),
            unsafe memcmp(
                view.pointer(Encapsulation.geneveOffset), right.pointer(Encapsulation.geneveOffset),
                right.count - Encapsulation.geneveOffset) == 0,
            outerHeaderIsRight(view),
            isPartial || view.u16(26) == right.u16(26) || isRightAnyway(view)
        else { return unsafe judgeWrong(view, flight, right, isPartial) }
        unsafe accept(flight, number, arrival)
    }

    /// The checksum of an outer header without options.
    @inline(__always)
    private func outerHeaderIsRight(_ view: PacketView) -> Bool {
        var sum = FieldSum()
        sum.add(view.u32(0))
        sum.add(view.u32(4))
        sum.add(view.u32(8))
        sum.add(view.u32(12))
        sum.add(view.u32(16))
        return sum.verifies
    }

    /// What should come back; what was sent, where nothing should.
    @inline(__always)
    private func answer(_ sent: Flight) -> UnsafeMutablePointer<PacketTemplate> {
        // Sound: a flight and an answer name templates of the library.
        let number = unsafe templates[Int(sent.template)].answer
        return unsafe templates + (number >= 0 ? Int(number) : Int(sent.template))
    }

    /// The outer UDP checksum is not the expected one, but zero, or right where zero was sent.
    @inline(never)
    private func isRightAnyway(_ view: PacketView) -> Bool {
        view.u16(26) == 0 || ReturnedPacket(view)?.outerChecksumIsRight(view) == true
    }

    /// A packet that is right in itself: did it come once, in time and in order?
    @inline(__always)
    private mutating func accept(
        _ flight: UnsafeMutablePointer<Flight>, _ number: UInt32, _ arrival: UInt64
    ) {
        // Sound: the log's own flight, of a flow of this thread: there are lanes for all of those.
        let sent = unsafe flight.pointee
        guard !sent.expectsDrop else { return tally.add(.missingDrop) }
        guard !sent.isBack else { return tally.add(.duplicate) }
        unsafe noteBack(flight)
        let took = arrival > sent.due ? arrival &- sent.due : 0
        _ = latencies.record(took)
        let own = threads == 1 ? sent.flow : sent.flow / threads
        let lane = unsafe newest + (Int(own) &* 2 &+ (sent.isReply ? 1 : 0))
        // A newer one is in the log, too: a flow may rest until numbers come round again.
        let ahead = unsafe lane.pointee &- number
        let isOld = unsafe ahead != 0 && ahead < log.count && lane.pointee != 0
        if !isOld { unsafe lane.pointee = number }
        if took > lateAfter {
            tally.add(.late)
        } else if isOld {
            tally.add(.reordered)
        }
    }

    @inline(__always)
    private mutating func noteBack(_ flight: UnsafeMutablePointer<Flight>) {
        // Sound: as settle.
        let trafficClass = unsafe Int(templates[Int(flight.pointee.template)].trafficClass)
        if unsafe flight.pointee.isLost { tally.classes[trafficClass].lost &-= 1 }
        unsafe flight.pointee.noteBack()
        tally.classes[trafficClass].received &+= 1
    }

    // ---- What is wrong with it.

    /// A packet whose stamp is known, but that differs from what was expected under it.
    @inline(never)
    private mutating func judgeWrong(
        _ view: PacketView, _ flight: UnsafeMutablePointer<Flight>, _ right: PacketView,
        _ isPartial: Bool
    ) {
        guard let packet = ReturnedPacket(view) else { return tally.add(.geneve) }
        // Sound: the log's own flight.
        let sent = unsafe flight.pointee
        let innerIsRight = packet.innerEquals(right, view)
        let owner = FlowModel.owner(of: packet.cookie(view))
        // Neither the cookie nor the rest agrees with the stamp: the stamp is what is wrong.
        if !innerIsRight, owner.flow != sent.flow { return judgeByCookie(view, packet) }
        let violation = violation(
            view, packet,
            header(
                sent.flow, sent.generation, version: right.u8(Encapsulation.overhead) >> 4),
            sent, right, innerIsRight, isPartial)
        if !sent.expectsDrop, !sent.isBack { unsafe noteBack(flight) }
        tally.add(violation)
    }

    private func violation(
        _ view: PacketView, _ packet: ReturnedPacket, _ header: GatewayHeader, _ sent: Flight,
        _ right: PacketView, _ innerIsRight: Bool, _ isPartial: Bool
    ) -> Violation {
        if let violation = packet.headerViolation(against: header, view) { return violation }
        if sent.expectsDrop { return .missingDrop }
        guard innerIsRight else {
            return packet.innerEqualsButForChecksums(right, view) ? .innerChecksum : .payload
        }
        return !isPartial && !packet.outerChecksumIsRight(view) ? .outerChecksum : .payload
    }

    private func header(
        _ flow: UInt32, _ generation: UInt8, version: UInt8
    ) -> GatewayHeader {
        let identity = traffic.model.identity(flow, generation)
        return GatewayHeader(
            node: identity.node, target: target, sourcePort: identity.port,
            endpoint: identity.endpoint, cookie: identity.cookie, innerVersion: version)
    }

    /// The version of what claims to be an inner packet.
    private func version(_ view: PacketView, _ start: Int, _ end: Int) -> UInt8 {
        start < end && view.u8(start) >> 4 == 6 ? 6 : 4
    }

    /// A packet that is not laid out as ours are, or whose stamp says nothing.
    @inline(never)
    private mutating func judgeOddOne(_ view: PacketView) {
        guard view.count >= 28, view.u8(0) >> 4 == 4 else { return }
        let udp = Int(view.u8(0) & 0x0F) * 4
        guard udp >= 20, view.count >= udp + 8 else { return }
        let number = view.u16(udp) &- MalformedTraffic.firstPort
        if Int(number) < malformedSent.count { return judgeMalformed(view, Int(number), udp) }
        guard let packet = ReturnedPacket(view) else { return judgeStranger(view) }
        if packet.end - packet.inner < 8 || udp == 20 && packet.inner == Encapsulation.overhead {
            return judgeByCookie(view, packet)
        }
        // Outer options, or Geneve options more or fewer than ours: the stamp is elsewhere.
        let stamp = packet.inner + max(packet.end - packet.inner - 4, 0) & ~1
        guard stamp + 4 <= packet.end, let number = log.number(of: view.u32(stamp)) else {
            return judgeByCookie(view, packet)
        }
        // Sound: as judge.
        let flight = unsafe log.flight(number)
        let sent = unsafe flight.pointee
        let identity = traffic.model.identity(sent.flow, sent.generation)
        let template = unsafe answer(sent)
        unsafe template.write(
            identity, isReply: sent.isReply, mark: Stamp.of(number), sequence: sent.sequence,
            to: expected)
        unsafe judgeWrong(
            view, flight, PacketView(unsafeBase: expected, count: template.pointee.length), false)
    }

    /// Only the cookie tells which flow the packet belongs to.
    private mutating func judgeByCookie(_ view: PacketView, _ packet: ReturnedPacket) {
        let owner = FlowModel.owner(of: packet.cookie(view))
        guard owner.flow < UInt32(traffic.plan.flows) else { return judgeStranger(view) }
        // Whether that is the right version, nothing tells.
        let header = header(
            owner.flow, owner.generation, version: version(view, packet.inner, packet.end))
        if let violation = packet.headerViolation(against: header, view) {
            return tally.add(violation)
        }
        let stamp = packet.inner + max(packet.end - packet.inner - 4, 0) & ~1
        let isForgotten = stamp + 4 <= packet.end && log.isForgotten(view.u32(stamp))
        tally.add(isForgotten ? .late : .payload)
    }

    /// None of ours; a violation when it came to one of our addresses.
    private mutating func judgeStranger(_ view: PacketView) {
        guard view.count >= 20 else { return }
        if nodes.contains(view.u32(16)) { tally.add(.unexpected) }
    }

    /// A packet that may be one of the capture's.
    @inline(never)
    private mutating func judgeReplay(_ view: PacketView, _ arrival: UInt64, _ isPartial: Bool) {
        let port = view.count >= 28 ? view.u16(20) &- MalformedTraffic.firstPort : .max
        if Int(port) < malformedSent.count { return judgeMalformed(view, Int(port), 20) }
        guard let packet = ReturnedPacket(view), let replay = traffic.replay else {
            return judgeStranger(view)
        }
        // Without what trails the outer datagram.
        let whole = view.prefix(packet.end)
        let fingerprint =
            InnerPacket(whole, at: packet.inner).map { Fingerprint(whole, $0) }
            ?? Fingerprint(bytes: whole, from: packet.inner)
        guard let found = replay.contentOfBody[fingerprint.body] else {
            return judgeByCookie(view, packet)
        }
        let content = replay.contents[found]
        guard !content.expectsDrop else { return tally.add(.missingDrop) }
        // Sound: only a flow of this thread looks at its lane, and the log's mask takes any number.
        let own = Int(content.flow / threads) * 2
        let forgets = window?.forget(found, before: log.next &- log.count) == true
        guard content.flow % threads == thread,
            let number = unsafe window?.returned(found, after: newest[own])
        else { return tally.add(forgets ? .late : .duplicate) }
        let flight = unsafe log.flight(number)
        let header = header(
            content.flow, 0, version: version(view, packet.inner, packet.end))
        if let violation = packet.headerViolation(against: header, view) {
            unsafe noteBack(flight)
            tally.add(violation)
        } else if fingerprint.checksums != content.fingerprint.checksums {
            unsafe noteBack(flight)
            tally.add(.innerChecksum)
        } else if !isPartial, !packet.outerChecksumIsRight(view) {
            unsafe noteBack(flight)
            tally.add(.outerChecksum)
        } else {
            unsafe accept(flight, number, arrival)
        }
    }

    private mutating func judgeMalformed(_ view: PacketView, _ number: Int, _ udp: Int) {
        let packet = traffic.malformed[number]
        guard !packet.expectsDrop else { return tally.add(.missingDrop) }
        malformedBack[number] += 1
        guard malformedBack[number] <= malformedSent[number] else { return tally.add(.duplicate) }
        tally.classes[Int(TrafficClass.malformed.rawValue)].received += 1
        guard view.u32(12) == target, view.u32(16) == packet.node else {
            return tally.add(.addresses)
        }
        // From the UDP header on as it was sent, but for the checksum that a host may fill in.
        let rest = packet.bytes.count - 20
        guard Int(view.u16(2)) == udp + rest, view.count >= udp + rest,
            (0..<rest).allSatisfy({
                $0 == 6 || $0 == 7 || view.u8(udp + $0) == packet.bytes[20 + $0]
            })
        else { return tally.add(.payload) }
    }
}
