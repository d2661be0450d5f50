import Configuration
import Dataplane
import PacketIO
import Support
import Wire

/// What all workers have in common.
@usableFromInline
struct WorkerPlan: Sendable {
    @usableFromInline var sockets: SocketOptions
    /// What a first snapshot has.
    @usableFromInline var settings: PathSettings
    @usableFromInline var flowsPerWorker: Int
    @usableFromInline var seed: UInt64
    @usableFromInline var spins: Bool
    /// How long a worker looks for packets before it sleeps, nanoseconds.
    @usableFromInline var patience: UInt64

    /// - Parameters:
    ///   - interfaces: those whose MTU is the limit; may be none.
    ///   - warnings: for later, since a start that fails says one thing.
    init(
        _ options: RunOptions, backend: IOBackend, interfaces: [String], served: InterfaceChoice,
        placement: Placement, warnings: inout [String]
    ) throws(Failure) {
        settings = options.pathSettings
        settings.mtu = try Interfaces.fit(
            mtu: settings.mtu, isSet: options.mtuIsSet, interfaces: interfaces,
            warnings: &warnings)
        sockets = try WorkerPlan.sockets(options, backend.traits, served, placement)
        flowsPerWorker = options.flowsPerWorker
        seed = UInt64.random(in: .min ... .max)
        spins = options.busyPoll
        // A worker that shares its CPU leaves it to the others.
        let hasOwnCPU = Set(placement.cpus).count == placement.cpus.count
        patience = hasOwnCPU ? IdleSpin.worthwhile : 0
    }

    private static func sockets(
        _ options: RunOptions, _ backend: BackendTraits, _ served: InterfaceChoice,
        _ placement: Placement
    ) throws(Failure) -> SocketOptions {
        do throws(IOFailure) {
            var sockets = SocketOptions(waker: try Waker())
            sockets.workers = placement.cpus.count
            sockets.address = options.address
            sockets.interfaces = served.names
            sockets.served = served.served
            sockets.hasPortSink = true
            sockets.slotSize = options.frameSize
            sockets.steering = steering(options, placement)
            if backend.needsInterfaces {
                // Whatever an interface can bring, and send again.
                sockets.slotSize = max(
                    options.frameSize, Interfaces.largestMTU(served.names) + backend.slotOverhead)
            }
            sockets.bypassesQdisc = options.bypassesQdisc
            // A ring of larger slots has fewer of them.
            sockets.receiveBuffer = options.ringFrames * options.frameSize
            sockets.zeroOuterChecksum = options.zeroOuterChecksum
            return sockets
        } catch {
            throw Failure(error)
        }
    }

    /// The key is new with each process, so that nobody can aim flows at one worker.
    private static func steering(_ options: RunOptions, _ placement: Placement) -> Steering.Mode {
        let key = UInt32.random(in: .min ... .max)
        switch options.steering {
        case .flow: return .hash(FlowHash(key: key))
        case .addresses: return .hash(FlowHash(key: key, coversPorts: false))
        case .cpu: return .cpu(placement.cpus)
        }
    }

    /// Rings and tables are taken whole at start: more than the host has free would end in the
    /// out-of-memory killer, not in an error.
    ///
    /// - Parameters:
    ///   - tables: bytes of one worker's tables.
    ///   - policy: bytes of the tables that workers share.
    ///   - configuration: names what can be lowered.
    func requireMemory(
        _ backend: IOBackend, tables: Int, policy: Int, _ configuration: Configuration
    ) throws(Failure) {
        let frames = max(1, sockets.receiveBuffer / sockets.slotSize)
        let ring = backend.traits.memory(frames, sockets.slotSize, sockets.burst).ring
        let total = sockets.workers * (ring + tables) + policy
        guard let available = ProcessReading.availableMemory(), total > available / 10 * 8 else {
            return
        }
        let flows = configuration.name(of: "flows.per-worker")
        let workers = configuration.name(of: "listen.workers")
        throw Failure(
            .config,
            "\(sockets.workers) workers need \(total >> 20) MiB for rings, tables and policy, but the host has "
                + "\(available >> 20) MiB free: lower \(flows) or \(workers)")
    }
}
