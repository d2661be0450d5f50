import NIOCore

/// The connected clients of one port, oldest first: when there are too many, the oldest goes.
/// Used on one event loop only.
final class ClientList: @unchecked Sendable {
    private let most: Int
    private var channels: [any Channel] = []

    init(most: Int) { self.most = most }

    func admit(_ channel: any Channel) {
        channels.append(channel)
        let id = ObjectIdentifier(channel)
        channel.closeFuture.whenComplete { _ in
            self.channels.removeAll { ObjectIdentifier($0) == id }
        }
        // Off the list at once: many may be accepted before the loop tells that one is closed.
        if channels.count > most { channels.removeFirst().close(promise: nil) }
        // The whole exchange has five seconds: there is no idle client to wait for.
        let deadline = channel.eventLoop.scheduleTask(in: .seconds(5)) {
            channel.close(promise: nil)
        }
        channel.closeFuture.whenComplete { _ in deadline.cancel() }
    }
}
