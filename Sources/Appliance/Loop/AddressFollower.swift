import PacketIO
import Support

/// Keeps the workers' sockets at the addresses that the host has, for a backend whose kernel side
/// does not.
struct AddressFollower: ~Copyable {
    private let watch: AddressWatch
    private let sockets: [Int32]
    private let options: SocketOptions
    private let follow: @Sendable (Int32, SocketOptions) throws(IOFailure) -> Void
    private var isPending = false
    private var hasFailed = false

    /// - Parameter follow: see `BackendTraits.followAddresses`.
    init(
        sockets: [Int32], options: SocketOptions,
        by follow: @escaping @Sendable (Int32, SocketOptions) throws(IOFailure) -> Void
    ) throws(Failure) {
        do throws(IOFailure) {
            watch = try AddressWatch()
        } catch {
            throw Failure(error)
        }
        self.sockets = sockets
        self.options = options
        self.follow = follow
    }

    /// Cheap when nothing has changed. What fails is tried again at the next call; it throws once.
    mutating func update() throws(IOFailure) {
        if watch.hasChanged() { isPending = true }
        guard isPending else { return }
        do throws(IOFailure) {
            for socket in sockets { try follow(socket, options) }
        } catch {
            guard !hasFailed else { return }
            hasFailed = true
            throw error
        }
        isPending = false
        hasFailed = false
    }
}
