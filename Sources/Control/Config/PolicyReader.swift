import Dataplane
import Wire

/// Reads the section `policy`.
extension ConfigReader {
    func readPolicy(_ field: ConfigField, _ configuration: inout Configuration) {
        let keys = [
            "default", "on-error", "on-unknown-tcp", "fragments", "rules", "endpoints",
        ]
        guard let fields = field.section(keys) else { return }
        // Counters are named after rules, so a name belongs to one rule of the whole file.
        var names: [String: Int] = [:]
        configuration.policy.main = readRules(of: fields, &names)
        configuration.run.settings.forwardsUndecodable = readOnError(fields)
        for (key, value) in fields["endpoints"]?.entries() ?? [] {
            guard let endpoint = key.node.scalar.flatMap({ EndpointID.parse($0.string) }) else {
                key.problems.note(
                    line: key.line,
                    "policy.endpoints: expected an endpoint id such as vpce-0123456789abcdef0, "
                        + "found \(key.found)")
                continue
            }
            guard let fields = value.section(keys.filter { $0 != "endpoints" }) else { continue }
            if configuration.policy.endpoints[endpoint] != nil {
                key.fail("another key names the same endpoint")
            }
            var policy = readRules(of: fields, &names)
            policy.forwardsUndecodable = readOnError(fields)
            configuration.policy.endpoints[endpoint] = policy
        }
    }

    private func readOnError(_ fields: [String: ConfigField]) -> Bool {
        fields["on-error"]?.choice(["drop": false, "forward": true]) ?? false
    }

    private func readRules(
        of fields: [String: ConfigField], _ names: inout [String: Int]
    ) -> Policy {
        var policy = Policy()
        policy.dropsByDefault =
            fields["default"]?.choice(["forward": false, "drop": true]) ?? false
        policy.fragments =
            fields["fragments"]?.choice([
                "follow-first": .followFirst, "forward": .forward, "drop": .drop,
            ]) ?? .followFirst
        policy.dropsUnknownTCP =
            fields["on-unknown-tcp"]?.choice(["evaluate": false, "drop": true]) ?? false
        let list = fields["rules"]?.list("rules") ?? []
        for field in list {
            guard let rule = readRule(field) else { continue }
            if let line = names[rule.name] {
                field.fail("duplicate name '\(rule.name)', first in line \(line)")
            }
            names[rule.name] = field.line
            policy.rules.append(rule)
            checkFlowLimits(field, policy)
        }
        if let excess = policy.excess { fields["rules"]?.fail(excess) }
        return policy
    }

    /// Nil without a name or an action: what else is wrong has been noted.
    private func readRule(_ field: ConfigField) -> Rule? {
        guard let fields = field.section(["name", "match", "action", "dry-run"]) else { return nil }
        let name = fields["name"].flatMap { readName($0) }
        if fields["name"] == nil { field.missing("a rule needs a name", fields) }
        var rule = Rule(name ?? "")
        if let field = fields["match"] {
            // Most likely a condition that was lost: it would match every packet.
            if field.isNull {
                field.expected("conditions (without match a rule is for every packet)")
            }
            rule.match = readMatch(field)
        }
        rule.isDryRun = fields["dry-run"]?.flag() ?? false
        if let action = fields["action"] {
            readActions(action, &rule)
            checkReplacements(action, rule)
        } else {
            field.missing("a rule needs an action: \(ConfigReader.actions)", fields)
        }
        return name == nil ? nil : rule
    }

    private func readName(_ field: ConfigField) -> String? {
        guard let name = field.text("a name") else { return nil }
        let isPlain = name.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 }
        guard !name.isEmpty, name.utf8.count <= 128, isPlain else {
            return field.expected("a name of 1 to 128 bytes without control characters")
        }
        return name
    }

    // ---- Actions.

    private static let plainActions = ["forward", "drop", "count", "log"]
    private static let actions = "forward, drop, count, log or replace"

    /// One action or a list; what decides comes last.
    private func readActions(_ field: ConfigField, _ rule: inout Rule) {
        let items = field.items
        if items.isEmpty { field.expected(ConfigReader.actions) }
        for item in items {
            if let terminal = rule.terminal {
                item.fail("nothing can come after \(terminal == .drop ? "drop" : "forward")")
                return
            }
            if item.node.mapping == nil {
                readWord(item, &rule)
            } else if let word = ConfigReader.plainActions.first(where: {
                item.node.mapping?[$0] != nil
            }) {
                item.fail("\(word) takes no value: write it alone")
            } else if let list = item.section(["replace", "capture"]) {
                if let capture = list["capture"] {
                    capture.unsupported("the action capture")
                }
                if let replace = list["replace"] { rule.replacements += readReplacements(replace) }
            }
        }
    }

    private func readWord(_ field: ConfigField, _ rule: inout Rule) {
        switch field.plain {
        case "forward": rule.terminal = .forward
        case "drop": rule.terminal = .drop
        case "count": break
        case "log": rule.isLogged = true
        case "capture": field.unsupported("the action capture")
        case "replace": field.expected("replace: [{find: …, with: …}]")
        default:
            let words = ConfigReader.plainActions + ["replace"]
            let near = field.plain.flatMap { NearMiss.of($0, in: words) }
            field.expected(
                ConfigReader.actions + (near.map { " (did you mean \($0)?)" } ?? ""))
        }
    }

    private func readReplacements(_ field: ConfigField) -> [Replacement] {
        let list = field.list("{find: …, with: …}") ?? []
        if list.isEmpty { field.fail("nothing to replace: expected [{find: …, with: …}]") }
        return list.compactMap { item in
            guard let fields = item.section(["find", "with"]) else { return nil }
            guard let find = fields["find"], let with = fields["with"] else {
                item.missing("expected both find and with", fields)
                return nil
            }
            guard let old = readBytes(find), let new = readBytes(with, mayBeEmpty: true) else {
                return nil
            }
            return Replacement(find: old, with: new)
        }
    }

    /// A payload can grow or shrink only where nobody counts its bytes: not in TCP.
    private func checkReplacements(_ field: ConfigField, _ rule: Rule) {
        guard !rule.replacements.isEmpty else { return }
        let protocols = rule.match.protocols?.members ?? [IPProtocol.tcp, IPProtocol.udp]
        if rule.match.fragment == .first || rule.match.fragment == .later
            || rule.match.fragment == .any
        {
            field.fail("fragments are never rewritten: this replace has no effect")
        }
        if !protocols.contains(IPProtocol.udp), !protocols.contains(IPProtocol.tcp) {
            field.fail("only UDP and TCP payloads are rewritten: this replace has no effect")
        }
        if protocols.contains(IPProtocol.tcp),
            rule.replacements.contains(where: { $0.find.count != $0.with.count })
        {
            field.fail(
                "a replace that changes the length applies to UDP only: "
                    + "say match: {protocol: udp}, or make find and with equally long")
        }
    }

    /// The bytes of a text with the escapes \xHH, \n, \r, \t, \0 and \\.
    private func readBytes(_ field: ConfigField, mayBeEmpty: Bool = false) -> [UInt8]? {
        guard let text = field.text("a text") else { return nil }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            guard let value = ConfigReader.escape(&rest) else {
                return field.expected("a text with the escapes \\xHH, \\n, \\r, \\t, \\0 or \\\\")
            }
            bytes.append(value)
        }
        guard !bytes.isEmpty || mayBeEmpty else { return field.fail("expected at least one byte") }
        guard bytes.count <= 1024 else {
            return field.fail("expected at most 1024 bytes, found \(bytes.count)")
        }
        return bytes
    }

    private static func escape(_ rest: inout ArraySlice<UInt8>) -> UInt8? {
        switch rest.popFirst() {
        case UInt8(ascii: "\\"): return UInt8(ascii: "\\")
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "0"): return 0
        case UInt8(ascii: "x"):
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit })
            else { return nil }
            rest = rest.dropFirst(2)
            return UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
        default: return nil
        }
    }

    // ---- Matches.

    private func readMatch(_ field: ConfigField) -> Match {
        var match = Match()
        guard
            let fields = field.section([
                "protocol", "version", "source", "destination", "address", "source-port",
                "destination-port", "port", "endpoint", "tcp-flags", "icmp", "payload", "length",
                "fragment", "flow", "sample", "rate",
            ])
        else { return match }
        match.protocols = fields["protocol"].flatMap { readProtocols($0) }
        match.version = fields["version"].flatMap { readVersion($0) }
        match.source = fields["source"].flatMap { readAddresses($0) }
        match.destination = fields["destination"].flatMap { readAddresses($0) }
        match.address = fields["address"].flatMap { readAddresses($0) }
        match.sourcePorts = fields["source-port"].flatMap { readNumbers($0, "a port", from: 0) }
        match.destinationPorts = fields["destination-port"].flatMap {
            readNumbers($0, "a port", from: 0)
        }
        match.ports = fields["port"].flatMap { readNumbers($0, "a port", from: 0) }
        match.endpoints = fields["endpoint"].flatMap { readEndpoints($0) }
        match.tcpFlags = fields["tcp-flags"].flatMap { readFlags($0) }
        match.icmp = fields["icmp"].flatMap { readICMP($0) }
        match.payload = fields["payload"].flatMap { readPayload($0) }
        match.lengths = fields["length"].flatMap { readNumbers($0, "a length", from: 20) }
        match.fragment = fields["fragment"]?.choice([
            "first": .first, "later": .later, "any": .any, "none": Match.Fragment.none,
        ])
        match.flow = fields["flow"]?.choice([
            "new": .new, "established": .established, "any": Match.Flow?.none,
        ]).flatMap { $0 }
        match.sampleEvery = fields["sample"].flatMap { readEvery($0) }
        match.rate = fields["rate"].flatMap { readRate($0) }
        checkSense(field, match)
        return match
    }

    /// Conditions that no packet can meet together.
    private func checkSense(_ field: ConfigField, _ match: Match) {
        let protocols = match.protocols
        func needs(_ numbers: [UInt8], _ names: String, _ what: String, _ isAsked: Bool) {
            guard isAsked, let protocols else { return }
            if !numbers.contains(where: { protocols.contains($0) }) {
                field.fail("can never match: \(what) is a matter of \(names)")
            }
        }
        let asksPorts =
            match.ports != nil || match.sourcePorts != nil || match.destinationPorts != nil
        needs([IPProtocol.udp, IPProtocol.tcp], "udp and tcp", "a port", asksPorts)
        needs([IPProtocol.udp, IPProtocol.tcp], "udp and tcp", "payload", match.payload != nil)
        needs([IPProtocol.tcp], "tcp", "tcp-flags", match.tcpFlags != nil)
        needs([IPProtocol.icmp, IPProtocol.icmpv6], "icmp and icmpv6", "icmp", match.icmp != nil)
        if match.fragment == .later,
            asksPorts || match.payload != nil || match.tcpFlags != nil || match.icmp != nil
        {
            field.fail("can never match: later fragments have no ports, flags or payload to read")
        }
        if let version = match.version {
            for ranges in [match.source, match.destination, match.address] {
                if let ranges, !ranges.contains(where: { $0.isIPv6 == (version == 6) }) {
                    field.fail("can never match: no address of IP version \(version) in it")
                }
            }
        }
    }

    private static let protocolNumbers: KeyValuePairs<String, UInt8> = [
        "udp": 17, "tcp": 6, "icmp": 1, "icmpv6": 58, "sctp": 132, "gre": 47, "esp": 50,
    ]

    private func readProtocols(_ field: ConfigField) -> ByteSet? {
        let names = ConfigReader.protocolNumbers.map(\.key)
        let numbers = field.all("a protocol") { item -> UInt8? in
            guard let word = item.plain else {
                return item.expected("\(names.joined(separator: ", ")) or a number from 0 to 255")
            }
            let known = ConfigReader.protocolNumbers.first { $0.key == word }
            if let number = known?.value ?? UInt8(word) { return number }
            let near = NearMiss.of(word, in: names).map { " (did you mean \($0)?)" } ?? ""
            return item.expected(
                "\(names.joined(separator: ", ")) or a number from 0 to 255\(near)")
        }
        return numbers.map { ByteSet($0) }
    }

    private func readVersion(_ field: ConfigField) -> UInt8? {
        switch field.plain {
        case "4": 4
        case "6": 6
        default: field.expected("4 or 6")
        }
    }

    private func readAddresses(_ field: ConfigField) -> [AddressRange]? {
        let expected = "an address, a prefix such as 10.0.0.0/8, or @file"
        let lists = field.all(expected) { item -> [AddressRange]? in
            guard let text = item.text(expected) else { return nil }
            if text.hasPrefix("@") { return readSet(item, String(text.dropFirst())) }
            switch AddressText.prefix(Array(text.utf8)) {
            case .success(let prefix): return [prefix.range]
            case .failure(let refusal): return item.fail(refusal.text(expected, text))
            }
        }
        return lists.map { $0.flatMap { $0 } }
    }

    private func readSet(_ field: ConfigField, _ name: String) -> [AddressRange]? {
        guard !name.isEmpty else { return field.expected("a file name after @") }
        do {
            return try PrefixFile.read(name.hasPrefix("/") ? name : folder + name)
        } catch {
            for line in error.lines { field.fail("@\(name): \(line)") }
            return nil
        }
    }

    /// A number, a range such as 1000-2000, or a list of them.
    private func readNumbers(
        _ field: ConfigField, _ what: String, from lowest: UInt16
    ) -> [ClosedRange<UInt16>]? {
        field.all(what) { item in
            // A range is text to YAML, so it may have quotes.
            let text = item.node.scalar.flatMap {
                item.plain ?? ($0.string.contains("-") ? $0.string : nil)
            }
            let ends = (text ?? "").split(separator: "-", omittingEmptySubsequences: false)
                .map { ConfigField.number($0).flatMap { UInt16(exactly: $0) } }
            guard (1...2).contains(ends.count), let first = ends[0],
                let last = ends[ends.count - 1], first >= lowest, first <= last
            else {
                return item.expected(
                    "\(what) from \(lowest) to 65535, or a range such as 1000-2000")
            }
            return first...last
        }
    }

    private func readEndpoints(_ field: ConfigField) -> [UInt64]? {
        field.all("an endpoint id") { item in
            guard let id = item.node.scalar.flatMap({ EndpointID.parse($0.string) }) else {
                return item.expected("an endpoint id such as vpce-0123456789abcdef0")
            }
            return id
        }
    }

    private static let flagNames = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"]

    private func readFlags(_ field: ConfigField) -> Match.TCPFlags? {
        guard let fields = field.section(["set", "clear"]) else { return nil }
        guard !fields.isEmpty else { return field.expected("set, clear or both") }
        func bits(_ key: String) -> UInt8? {
            guard let list = fields[key] else { return 0 }
            let bits = list.all("a flag") { item -> UInt8? in
                guard let bit = ConfigReader.flagNames.firstIndex(of: item.plain ?? "") else {
                    return item.expected(ConfigField.oneOf(ConfigReader.flagNames))
                }
                return 1 << UInt8(bit)
            }
            return bits?.reduce(0, |)
        }
        guard let set = bits("set"), let clear = bits("clear") else { return nil }
        guard set & clear == 0 else {
            return field.fail("can never match: a flag is both in set and in clear")
        }
        return Match.TCPFlags(set: set, clear: clear)
    }

    private func readICMP(_ field: ConfigField) -> Match.ICMP? {
        guard let fields = field.section(["type", "code", "sequence"]) else { return nil }
        guard !fields.isEmpty else { return field.expected("type, code or sequence") }
        var icmp = Match.ICMP()
        icmp.types = fields["type"].flatMap { readByteSet($0) }
        icmp.codes = fields["code"].flatMap { readByteSet($0) }
        if let sequence = fields["sequence"], let keys = sequence.section(["every"]) {
            if let every = keys["every"] {
                icmp.sequenceEvery = every.integer(1...65_535).map { UInt16($0) }
            } else {
                sequence.missing("expected {every: N}", keys)
            }
        }
        return icmp
    }

    private func readEvery(_ field: ConfigField) -> UInt32? {
        guard let fields = field.section(["every"]) else { return nil }
        guard let every = fields["every"] else {
            field.missing("expected {every: N}", fields)
            return nil
        }
        return every.integer(1...1_000_000_000).map { UInt32($0) }
    }

    private func readByteSet(_ field: ConfigField) -> ByteSet? {
        field.all("a number") { $0.integer(0...255).map { UInt8($0) } }.map { ByteSet($0) }
    }

    private func readPayload(_ field: ConfigField) -> Match.Payload? {
        guard let fields = field.section(["contains", "ignore-case"]) else { return nil }
        guard let contains = fields["contains"] else {
            field.missing("expected contains: a text or a list of them", fields)
            return nil
        }
        guard let strings = contains.all("a text", { readBytes($0) }) else { return nil }
        return Match.Payload(strings, ignoresCase: fields["ignore-case"]?.flag() ?? false)
    }
}
