import Dataplane

/// Collects what rules need beside rows.
struct ActionTables {
    private(set) var lengths: [LengthRange] = []
    private(set) var headerChecks: [HeaderCheck] = []
    private(set) var refusedICMP: [Match.ICMP] = []
    private(set) var bytes: [UInt8] = []
    private(set) var replacements: [CompiledReplacement] = []
    private var limitCount: Int32 = 0

    mutating func add(_ rule: Rule, _ match: CompiledMatch) -> CompiledRule {
        var compiled = match.checks
        compiled.terminal = rule.terminal
        if rule.terminal == .drop, !match.headerChecks.isEmpty {
            compiled.decidesLaterFragments = true
        }
        compiled.isLogged = rule.isLogged
        compiled.isDryRun = rule.isDryRun
        if match.isLimited {
            compiled.limit = limitCount
            limitCount += 1
        }
        compiled.lengths = ActionTables.append(
            (match.lengths ?? []).map {
                LengthRange(lowest: UInt16($0.lowerBound), highest: UInt16($0.upperBound))
            }, to: &lengths)
        compiled.headerChecks = ActionTables.append(match.headerChecks, to: &headerChecks)
        compiled.refusedICMP = ActionTables.append(
            match.refusedICMP.map { [$0] } ?? [], to: &refusedICMP)
        let list = rule.replacements.map {
            CompiledReplacement(find: add($0.find), with: add($0.with))
        }
        compiled.replacements = ActionTables.append(list, to: &replacements)
        return compiled
    }

    private mutating func add(_ string: [UInt8]) -> ByteString {
        defer { bytes += string }
        return ByteString(start: UInt32(bytes.count), count: UInt32(string.count))
    }

    private static func append<T>(_ items: [T], to list: inout [T]) -> CompiledRule.Slice {
        let first = UInt32(list.count)
        list += items
        return CompiledRule.Slice(first: first, end: UInt32(list.count))
    }
}
