import CSluice
import NIOCore
import NIOHTTP1
import NIOPosix

/// The health port: `/health`, `/metrics` and `/status` over HTTP/1.1, read-only.
///
/// SwiftNIO parses HTTP on one thread of its own, away from the packet path. A client gets one
/// answer and is disconnected; a slow or idle one has a few seconds, a talkative one a few
/// kilobytes, and when too many are connected the oldest goes: no client can keep a probe out.
final class HealthServer {
    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel

    /// The port was bound before anything started, so that a busy one is known early.
    init(_ socket: consuming ListenSocket, gauges: Gauges) throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let clients = ClientList()
        let bootstrap = ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    clients.admit(channel)
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(ByteLimit())
                    try pipeline.configureHTTPServerPipeline(
                        withPipeliningAssistance: false, withErrorHandling: true)
                    try pipeline.addHandler(Responder(gauges: gauges))
                }
            }
        let descriptor = socket.takeDescriptor()
        channel = try bootstrap.withBoundSocket(descriptor).wait()
        // A bound socket gets NIO's backlog of 128; listening again widens it.
        listen(descriptor, 1024)
    }

    func stop() {
        try? channel.close().wait()
        try? group.syncShutdownGracefully()
    }
}

/// The connected clients, oldest first. Used on one event loop only.
private final class ClientList: @unchecked Sendable {
    private static let limit = 256
    private var channels: [any Channel] = []

    func admit(_ channel: any Channel) {
        channels.append(channel)
        let id = ObjectIdentifier(channel)
        channel.closeFuture.whenComplete { _ in
            self.channels.removeAll { ObjectIdentifier($0) == id }
        }
        if channels.count > ClientList.limit {
            channels[0].close(promise: nil)
        }
        // The whole exchange has five seconds: there is no idle client to wait for.
        let deadline = channel.eventLoop.scheduleTask(in: .seconds(5)) {
            channel.close(promise: nil)
        }
        channel.closeFuture.whenComplete { _ in deadline.cancel() }
    }
}

/// Disconnects a client that sends more than a request can need.
private final class ByteLimit: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    private static let limit = 16 * 1024
    private let received = NIOLoopBoundCount()

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let isOver = received.value > ByteLimit.limit
        received.value += unwrapInboundIn(data).readableBytes
        guard received.value > ByteLimit.limit else { return context.fireChannelRead(data) }
        if !isOver { refuse(context) }
    }

    /// Says why (RFC 6585 §5) and reads no more. Closing at once could take the answer back: what is
    /// unread turns the end of a connection into a reset.
    private func refuse(_ context: ChannelHandlerContext) {
        let text =
            "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
            + "Content-Length: 0\r\n\r\n"
        _ = context.channel.setOption(.autoRead, value: false)
        let channel = context.channel
        context.writeAndFlush(NIOAny(channel.allocator.buffer(string: text)))
            .whenComplete { _ in channel.close(mode: .output, promise: nil) }
        _ = channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
    }
}

/// A count touched by one event loop only.
private final class NIOLoopBoundCount: @unchecked Sendable {
    var value = 0
}

/// Answers one request, then closes.
private final class Responder: ChannelInboundHandler, Sendable {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let gauges: Gauges
    private let answers = NIOLoopBoundCount()

    init(gauges: Gauges) { self.gauges = gauges }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The head says all; a body is not read.
        guard case .head(let request) = unwrapInboundIn(data) else { return }
        // A connection gets one answer, however many requests came with the first.
        guard answers.value == 0 else { return }
        answers.value = 1
        let answer = respond(to: request)
        var headers = HTTPHeaders()
        headers.add(name: "Content-Type", value: answer.type)
        headers.add(name: "Content-Length", value: "\(answer.body.utf8.count)")
        headers.add(name: "Cache-Control", value: "no-store")
        headers.add(name: "Connection", value: "close")
        if answer.status == .methodNotAllowed { headers.add(name: "Allow", value: "GET, HEAD") }
        let head = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD {
            let body = context.channel.allocator.buffer(string: answer.body)
            context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        }
        let done = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        done.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: done)
    }

    private struct Answer {
        var status = HTTPResponseStatus.ok
        var type = "application/json"
        var body: String
    }

    private func respond(to request: HTTPRequestHead) -> Answer {
        guard request.method == .GET || request.method == .HEAD else {
            return Answer(status: .methodNotAllowed, type: "text/plain", body: "only GET here\n")
        }
        guard Responder.hasHost(request) else {
            return Answer(status: .badRequest, type: "text/plain", body: "one Host, please\n")
        }
        switch Responder.path(of: request.uri) {
        case "/health", "/":
            let health = gauges.health
            return Answer(
                status: health.isHealthy ? .ok : .serviceUnavailable,
                body: StatusJSON.health(health))
        case "/metrics":
            return Answer(
                type: "text/plain; version=0.0.4; charset=utf-8",
                body: MetricsText.render(gauges.read()))
        case "/status":
            return Answer(body: StatusJSON.status(gauges.read()))
        default:
            return Answer(
                status: .notFound, type: "text/plain",
                body: "try /health, /metrics or /status\n")
        }
    }

    /// RFC 9112 §3.2: one Host in HTTP/1.1, and never two.
    private static func hasHost(_ request: HTTPRequestHead) -> Bool {
        let count = request.headers["host"].count
        return request.version.minor == 0 ? count <= 1 : count == 1
    }

    /// Of a target in origin form, "/health?x", or in absolute form, "http://host/health" (RFC 9112
    /// §3.2).
    private static func path(of target: String) -> Substring {
        var rest = target[...]
        if let scheme = rest.firstRange(of: "://"), !rest.hasPrefix("/") {
            let authority = rest[scheme.upperBound...]
            rest =
                authority.firstIndex(where: { "/?".contains($0) }).map { authority[$0...] } ?? "/"
        }
        let path = rest.prefix { $0 != "?" }
        return path.isEmpty ? "/" : path
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
