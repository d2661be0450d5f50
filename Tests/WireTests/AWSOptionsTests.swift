import SluiceTesting
import Testing
import Wire

/// The walk over Geneve options (RFC 8926 §3.5) and what AWS puts there (docs/gateway.md).
@Suite struct AWSOptionsTests {
    private static let endpoint = hex("01080102", "2356de92d389839c")
    private static let attachment = hex("01080202", "0000000000000000")
    private static let cookie = hex("01080301", "98ef1b00")
    private static let captured = endpoint + attachment + cookie

    private struct Walk: Equatable {
        var outcome: AWSOptions.Outcome
        var options: AWSOptions
    }

    private func walk(_ bytes: [UInt8], from start: Int = 0, to end: Int? = nil) -> Walk {
        read(bytes) { view in
            var options = AWSOptions()
            let outcome = options.walk(view, from: start, to: end ?? view.count)
            return Walk(outcome: outcome, options: options)
        }
    }

    /// What the captured options say.
    private var complete: Walk {
        var options = AWSOptions()
        options.endpoint = 0x2356_de92_d389_839c
        options.cookie = 0x98ef_1b00
        options.present = 0b111
        return Walk(outcome: .ok, options: options)
    }

    /// An option with `count` words of data, which look like AWS options themselves.
    private func option(
        _ optionClass: UInt16, _ type: UInt8, reserved: UInt8 = 0, words count: Int = 0
    ) -> [UInt8] {
        let data = (0..<count).flatMap { _ in [0x01, 0x08, 0x03, 0x01] as [UInt8] }
        return bigEndian(optionClass) + [type, reserved << 5 | UInt8(count)] + data
    }

    // ---- Reading.

    @Test("RFC 8926 §3.5: the options of a captured GWLB packet, behind their header")
    func captured() {
        let packet = hex("08 00 0800 000000 00") + Self.captured + hex("45")
        let seen = walk(packet, from: 8, to: 40)
        #expect(seen == complete)
        #expect(seen.options.isComplete)
        #expect(EndpointID.format(seen.options.endpoint) == "vpce-02356de92d389839c")
    }

    @Test("RFC 8926 §3.5: an endpoint must not depend on the order of options")
    func anyOrder() {
        let options = [Self.endpoint, Self.attachment, Self.cookie]
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            #expect(walk(order.flatMap { options[$0] }) == complete, "\(order)")
        }
    }

    @Test("RFC 8926 §3.5: unknown non-critical options are passed over, wherever they stand")
    func unknownOptions() {
        let options = [Self.endpoint, Self.attachment, Self.cookie]
        for count in 0...31 {
            for place in 0...3 {
                var mixed = options
                mixed.insert(option(0x0109, 1, words: count), at: place)
                #expect(walk(mixed.flatMap { $0 }) == complete, "\(count) words at \(place)")
            }
        }
    }

    @Test("RFC 8926 §3.5: the reserved bits of an option are ignored")
    func reservedBits() {
        for place in [3, 15, 27] {
            for reserved: UInt8 in 0...7 {
                var bytes = Self.captured
                bytes[place] |= reserved << 5
                #expect(walk(bytes) == complete)
            }
        }
        #expect(walk(option(0x0103, 5, reserved: 7, words: 3) + Self.captured) == complete)
    }

    @Test("Options that are missing are told", arguments: 0...7)
    func missing(present: Int) {
        let options = [Self.endpoint, Self.attachment, Self.cookie]
        let some = (0..<3).filter { present >> $0 & 1 == 1 }.flatMap { options[$0] }
        let seen = walk(some)
        #expect(seen.outcome == .ok)
        #expect(seen.options.present == UInt8(present))
        #expect(seen.options.isComplete == (present == 7))
    }

    @Test("RFC 8926 §3.4: no options at all")
    func empty() {
        #expect(walk([]) == Walk(outcome: .ok, options: AWSOptions()))
        #expect(walk([1, 2, 3], from: 3, to: 3) == Walk(outcome: .ok, options: AWSOptions()))
    }

    // ---- Refusing.

    @Test("Each AWS option at most once", arguments: 0..<3)
    func duplicates(which: Int) {
        let repeated = [Self.endpoint, Self.attachment, Self.cookie][which]
        let seen = walk(Self.captured + repeated)
        #expect(seen.outcome == .invalid)
        // The first one stays.
        #expect(seen.options == complete.options)
        #expect(walk(repeated + Self.captured).outcome == .invalid)
        #expect(walk(repeated + option(0x0101, 1) + repeated).outcome == .invalid)
    }

    @Test(
        "AWS options have 8, 8 and 4 bytes",
        arguments: 1...3 as ClosedRange<UInt8>)
    func lengths(type: UInt8) {
        let right = type == 3 ? 1 : 2
        for count in 0...31 {
            let seen = walk(option(0x0108, type, words: count))
            #expect(seen.outcome == (count == right ? .ok : .invalid), "\(count) words")
            #expect(seen.options.present == (count == right ? 1 << (type - 1) : 0))
        }
    }

    @Test("RFC 8926 §3.5: AWS's class, all 256 types; only 1 to 3 are known")
    func typesOfAWS() {
        let bad = failures(octets) { type in
            let expected: AWSOptions.Outcome =
                (1...3).contains(type) ? .invalid : type >= 0x80 ? .critical : .ok
            return walk(option(0x0108, type)).outcome == expected
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8926 §3.5.1: an unknown critical option, all 65,536 classes")
    func criticalClasses() {
        let critical = failures(words) { walk(option($0, 0x80)).outcome == .critical }
        #expect(critical.isEmpty)
        let harmless = failures(words) { walk(option($0, 0x7F)).outcome == .ok }
        #expect(harmless.isEmpty)
    }

    @Test("RFC 8926 §3.5.1: critical is the top bit of the type alone", arguments: 0...3)
    func criticalTypes(place: Int) {
        let bad = failures(octets) { type in
            var options = [Self.endpoint, Self.attachment, Self.cookie]
            options.insert(option(0x0107, type, words: 2), at: place)
            let expected: AWSOptions.Outcome = type >= 0x80 ? .critical : .ok
            return walk(options.flatMap { $0 }).outcome == expected
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8926 §3.5: options that overrun Opt Len, cut at every byte")
    func overrun() {
        let ends = [0: 0, 12: 0b001, 24: 0b011, 32: 0b111]
        for end in 0...32 {
            let seen = walk(Self.captured, to: end)
            #expect(seen.outcome == (ends[end] == nil ? .malformed : .ok), "\(end) bytes")
            if let present = ends[end] { #expect(seen.options.present == present) }
        }
    }

    @Test("RFC 8926 §3.5: an option must not reach beyond the last, whatever its length")
    func overrunByLength() {
        for claimed in 0...31 {
            for there in 0...31 {
                var bytes = option(0x0101, 1, words: there)
                bytes[3] = UInt8(claimed)
                let expected = outcome(ofWordsLeft: there - claimed)
                #expect(walk(bytes).outcome == expected, "\(claimed) of \(there)")
            }
        }
    }

    /// Words that an option does not claim are read as further options. Here each is the header
    /// of a cookie with one word of data: two make a cookie, four make two.
    private func outcome(ofWordsLeft left: Int) -> AWSOptions.Outcome {
        switch left {
        case 0, 2: .ok
        case 4...: .invalid
        default: .malformed
        }
    }

    // ---- 63 words, the most that Opt Len can say.

    @Test("RFC 8926 §3.4: 252 bytes of options: AWS's behind others")
    func longest() {
        let others = option(0x0101, 1, words: 31) + option(0x0102, 2, words: 22)
        #expect((others + Self.captured).count == 252)
        #expect(walk(others + Self.captured) == complete)
        #expect(walk(Self.captured + others) == complete)
    }

    @Test("RFC 8926 §3.4: 63 options without data")
    func most() {
        let others = (0..<63).flatMap { option(0x0200 + UInt16($0), UInt8($0)) }
        #expect(others.count == 252)
        #expect(walk(others) == Walk(outcome: .ok, options: AWSOptions()))
        let last = others.dropLast(4) + option(0x0200, 0x80)
        #expect(walk(Array(last)).outcome == .critical)
    }

    // ---- Hostile bytes.

    @Test("RFC 8926 §3.5: random options, against a walk written as plainly as possible")
    func agreesWithPlainWalk() {
        var random = SeededGenerator(seed: 35)
        var seen: Set<AWSOptions.Outcome> = []
        let bad = failures((0..<20_000).map { _ in randomOptions(&random) }) { bytes in
            let fast = walk(bytes)
            seen.insert(fast.outcome)
            return fast == plainWalk(bytes)
        }
        #expect(bad.isEmpty)
        #expect(seen == [.ok, .malformed, .critical, .invalid])
    }

    /// A few options, mostly sound, sometimes cut or garbled.
    private func randomOptions(_ random: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<random.next() % 6 {
            switch random.next() % 8 {
            case 0: bytes += Self.endpoint
            case 1: bytes += Self.attachment
            case 2: bytes += Self.cookie
            case 3: bytes += option(0x0108, UInt8(random.next() % 5), words: Int(random.next() % 4))
            default:
                bytes += option(
                    random.word(), UInt8(random.next() % 140), reserved: UInt8(random.next() % 8),
                    words: Int(random.next() % 8))
            }
        }
        if !bytes.isEmpty, random.next() % 4 == 0 {
            bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(random.next() % 256)
        }
        if random.next() % 8 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count + 1))) }
        return bytes
    }

    private func plainWalk(_ bytes: [UInt8]) -> Walk {
        var rest = bytes[...]
        var result = Walk(outcome: .ok, options: AWSOptions())
        while !rest.isEmpty {
            let header = read(Array(rest)) { GeneveOption($0, at: 0) }
            guard let header, rest.count >= 4 + header.dataLength else {
                result.outcome = .malformed
                return result
            }
            let data = rest.dropFirst(4).prefix(header.dataLength)
            result.outcome = take(header, Array(data), &result.options)
            if result.outcome != .ok { return result }
            rest = rest.dropFirst(4 + header.dataLength)
        }
        return result
    }

    private func take(
        _ header: GeneveOption, _ data: [UInt8], _ options: inout AWSOptions
    ) -> AWSOptions.Outcome {
        guard header.optionClass == 0x0108, (1...3).contains(header.type) else {
            return header.isCritical ? .critical : .ok
        }
        let bit: UInt8 = 1 << (header.type - 1)
        guard options.present & bit == 0, data.count == (header.type == 3 ? 4 : 8) else {
            return .invalid
        }
        options.present |= bit
        let value = data.reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        switch header.type {
        case 1: options.endpoint = value
        case 2: options.attachment = value
        default: options.cookie = UInt32(value)
        }
        return .ok
    }
}
