import PacketIO
import Support

/// Settings that are right each on its own and impossible together. They are looked for once, when
/// file, variables and flags have been read, and named as they were given.
struct Conflict {
    /// One line: what contradicts what, and where both stand.
    let text: String
    /// Nil when all of it stands in the file.
    let code: Failure.Code?

    static func all(in configuration: Configuration) -> [Conflict] {
        [steering, splitFlows, ports, drainLimits].compactMap { $0(configuration) }
    }

    private static func steering(_ configuration: Configuration) -> Conflict? {
        let run = configuration.run
        guard run.steering == .cpu, let backend = run.backend, !backend.traits.steersByCPU else {
            return nil
        }
        let (steer, io) = named("listen.steer", "listen.io", in: configuration)
        return Conflict(
            steer, io,
            "\(steer.saying("cpu")) needs io: \(IOBackend.steeringByCPU), but \(io.seen(from: steer)) says \(backend)"
        )
    }

    /// Steered by CPU, the packets of one flow meet several workers, and each has its own state.
    private static func splitFlows(_ configuration: Configuration) -> Conflict? {
        let run = configuration.run
        guard configuration.file != nil, run.steering == .cpu,
            run.backend?.traits.steersByCPU != false,
            !run.allowsSplitFlows, let need = configuration.policy.needsWholeFlows
        else { return nil }
        let (steer, allow) = named("listen.steer", "flows.allow-split-flows", in: configuration)
        return Conflict(
            steer, allow,
            "\(steer.start)steering by CPU splits flows, but the policy uses \(need): steer by flow, "
                + "do without it, or say flows: { allow-split-flows: true }")
    }

    private static func ports(_ configuration: Configuration) -> Conflict? {
        let run = configuration.run
        let ports: [(name: String, port: UInt16)] = [
            ("health.address", run.health.port), ("health.tcp", run.healthTCP?.port),
            ("health.admin", run.admin?.port),
        ].compactMap { name, port in port.map { (name, $0) } }
        for (i, later) in ports.enumerated() {
            guard let earlier = ports[..<i].first(where: { $0.port == later.port }) else {
                continue
            }
            let (one, other) = named(later.name, earlier.name, in: configuration)
            return Conflict(
                one, other,
                "\(one.start)port \(later.port) is that of \(other.seen(from: one)): they need two ports"
            )
        }
        return nil
    }

    private static func drainLimits(_ configuration: Configuration) -> Conflict? {
        let drain = configuration.run.drain
        guard drain.timeout < drain.minimum else { return nil }
        let (timeout, minimum) = named("drain.timeout", "drain.minimum", in: configuration)
        let place = timeout.place == nil ? minimum : timeout
        func told(_ limit: GivenSetting, _ duration: Duration) -> String {
            "\(limit.seen(from: place)) (\(seconds(duration)) s)"
        }
        return Conflict(
            timeout, minimum,
            "\(place.line)\(told(timeout, drain.timeout)) is below \(told(minimum, drain.minimum))")
    }

    private static func seconds(_ duration: Duration) -> String {
        let seconds = duration.seconds
        return seconds == seconds.rounded() ? "\(Int(seconds))" : "\(seconds)"
    }

    private init(_ first: GivenSetting, _ second: GivenSetting, _ text: String) {
        let places = [first.place, second.place].compactMap { $0 }
        self.text = text
        let isFileAlone = places.allSatisfy { if case .file = $0 { true } else { false } }
        code = isFileAlone ? nil : places.contains(.flag) ? .usage : .config
    }

    private static func named(
        _ first: String, _ second: String, in configuration: Configuration
    ) -> (GivenSetting, GivenSetting) {
        (configuration.given(first), configuration.given(second))
    }
}
