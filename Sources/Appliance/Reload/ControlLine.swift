import Support

/// Requests and replies as they go over the socket.
enum ControlLine {
    static func encode(_ value: some Encodable) -> [UInt8] {
        Array((JSONText.line(value) + "\n").utf8)
    }
}
