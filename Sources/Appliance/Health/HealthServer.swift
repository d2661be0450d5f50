import CSluice
import NIOCore
import NIOHTTP1
import NIOPosix

/// An HTTP/1.1 port, read-only: `/health`, and `/metrics` and `/status` unless they have a port of
/// their own.
///
/// SwiftNIO parses HTTP on one thread of its own, away from the packet path, and nothing on that
/// thread takes long. A client gets one answer and is disconnected; a slow or idle one has a few
/// seconds, a talkative one a few kilobytes, and when too many are connected the oldest goes: no
/// client can keep a probe out.
final class HealthServer {
    /// What a port has to tell.
    struct Pages {
        let gauges: Gauges
        /// Nil where only health is told.
        var renderer: PageRenderer?
        /// What is said of a path that is none.
        var others = "try /health, /metrics or /status\n"
    }

    /// A long page goes out in pieces, one client after the other, and a probe passes between them.
    private static let sendBuffer = 128 << 10

    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel

    /// The port was bound before anything started, so that a busy one is known early.
    init(_ socket: consuming ListenSocket, _ pages: Pages, mostClients: Int) throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let clients = ClientList(most: mostClients)
        let bootstrap = ServerBootstrap(group: group)
            // Without a descriptor for a client it waits, instead of trying again and again.
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                }
            }
            .childChannelOption(.socketOption(.so_sndbuf), value: HealthServer.sendBuffer)
            .childChannelOption(.writeSpin, value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    clients.admit(channel)
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(FirstHead())
                    try pipeline.configureHTTPServerPipeline(
                        withPipeliningAssistance: false, withErrorHandling: true)
                    try pipeline.addHandler(Responder(pages))
                }
            }
        let descriptor = socket.takeDescriptor()
        channel = try bootstrap.withBoundSocket(descriptor).wait()
        // A bound socket gets NIO's backlog of 128; listening again widens it.
        listen(descriptor, 4096)
    }

    func stop() {
        try? channel.close().wait()
        try? group.syncShutdownGracefully()
    }
}

/// Lets through the head of a first request, and disconnects a client whose head is longer than a
/// request can need. What comes behind it is nowhere parsed: hundreds of requests in one breath
/// cost no more than one.
private final class FirstHead: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    private static let limit = 16 * 1024
    // Touched by one event loop only.
    private var received = 0
    private var isOver = false
    private var hasBegun = false
    private var lineIsEmpty = true

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        var bytes = unwrapInboundIn(data)
        let view = bytes.readableBytesView
        if let end = view.firstIndex(where: endsHead) {
            isOver = true
            bytes =
                bytes.getSlice(
                    at: bytes.readerIndex, length: end - view.startIndex + 1) ?? bytes
        }
        received += bytes.readableBytes
        guard received > FirstHead.limit else {
            return context.fireChannelRead(wrapInboundOut(bytes))
        }
        isOver = true
        refuse(context)
    }

    /// The head ends with an empty line; those before it are skipped, and a line may end without
    /// its CR (RFC 9112 §2.2).
    private func endsHead(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\r"): return false
        case UInt8(ascii: "\n"):
            defer { lineIsEmpty = true }
            return lineIsEmpty && hasBegun
        default:
            hasBegun = true
            lineIsEmpty = false
            return false
        }
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

    private let pages: HealthServer.Pages
    private let answers = NIOLoopBoundCount()

    init(_ pages: HealthServer.Pages) { self.pages = pages }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The head says all; a body is not read.
        guard case .head(let request) = unwrapInboundIn(data) else { return }
        // A connection gets one answer, however many requests came with the first.
        guard answers.value == 0 else { return }
        answers.value = 1
        let isHead = request.method == .HEAD
        guard let renderer = pages.renderer, let page = Responder.page(request) else {
            return send(answer(to: request), isHead: isHead, context)
        }
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        renderer.render(page.page, on: context.eventLoop) { [self] body in
            send(Answer(type: page.type, body: body), isHead: isHead, context.value)
        }
    }

    private struct Answer {
        var status = HTTPResponseStatus.ok
        var type: String
        var body: ByteBuffer

        init(_ status: HTTPResponseStatus, type: String = "text/plain", _ text: String) {
            self.init(status: status, type: type, body: ByteBuffer(string: text))
        }

        init(status: HTTPResponseStatus = .ok, type: String, body: ByteBuffer) {
            (self.status, self.type, self.body) = (status, type, body)
        }
    }

    private static let json = "application/json"

    /// The page that a right request asks for, when it is a long one.
    private static func page(
        _ request: HTTPRequestHead
    ) -> (page: PageRenderer.Page, type: String)? {
        guard request.method == .GET || request.method == .HEAD, hasHost(request) else {
            return nil
        }
        return switch path(of: request.uri) {
        case "/metrics": (.metrics, "text/plain; version=0.0.4; charset=utf-8")
        case "/status": (.status, json)
        default: nil
        }
    }

    /// To everything else.
    private func answer(to request: HTTPRequestHead) -> Answer {
        guard request.method == .GET || request.method == .HEAD else {
            return Answer(.methodNotAllowed, "only GET here\n")
        }
        guard Responder.hasHost(request) else { return Answer(.badRequest, "one Host, please\n") }
        switch Responder.path(of: request.uri) {
        case "/health", "/":
            let health = pages.gauges.health
            return Answer(
                health.isHealthy ? .ok : .serviceUnavailable, type: Responder.json,
                StatusJSON.health(health))
        default: return Answer(.notFound, pages.others)
        }
    }

    /// Answers, then closes.
    private func send(_ answer: Answer, isHead: Bool, _ context: ChannelHandlerContext) {
        var headers = HTTPHeaders()
        headers.add(name: "Content-Type", value: answer.type)
        headers.add(name: "Content-Length", value: "\(answer.body.readableBytes)")
        headers.add(name: "Cache-Control", value: "no-store")
        headers.add(name: "Connection", value: "close")
        if answer.status == .methodNotAllowed { headers.add(name: "Allow", value: "GET, HEAD") }
        let head = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !isHead { context.write(wrapOutboundOut(.body(.byteBuffer(answer.body))), promise: nil) }
        let done = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        done.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: done)
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
