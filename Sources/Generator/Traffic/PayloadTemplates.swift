import Capture
import Wire

/// What the payload of a UDP or TCP packet holds; each fills any length, alike for one seed.
public enum PayloadTemplate: Equatable, Sendable {
    /// Text that no rule of the blog policy finds anything in.
    case neutral
    /// Neutral text with `drop me` somewhere in it.
    case drop
    /// Neutral text with `weakly typed` once, somewhere in it.
    case rewrite
    /// Bytes without any pattern, and no compression to gain.
    case random
    /// A TLS 1.3 ClientHello with a server name (RFC 8446 §4.1.2, RFC 6066 §3).
    case tls
    /// A DNS query for one name (RFC 1035 §4), padded by EDNS (RFC 7830).
    case dns
    /// The bytes of a file, over and over.
    case file([UInt8])

    /// What `--payload` takes, besides `file:F`.
    public static let names = ["neutral", "drop", "rewrite", "random", "tls", "dns"]

    /// The longest file for `file:F`, bytes.
    public static let largestFile = 64 << 20

    /// A template by its name; nil for a name that is none.
    public init?(name: String) {
        switch name {
        case "neutral": self = .neutral
        case "drop": self = .drop
        case "rewrite": self = .rewrite
        case "random": self = .random
        case "tls": self = .tls
        case "dns": self = .dns
        default: return nil
        }
    }

    /// The template of a file's bytes. - Throws: what is wrong, by the file's name.
    public init(file path: String) throws(WholeFile.Failure) {
        let bytes = try WholeFile.bytes(of: path, limit: Self.largestFile)
        guard !bytes.isEmpty else { throw WholeFile.Failure(path, "empty, no payload to send") }
        self = .file(bytes)
    }

    /// "file" for a file.
    public var name: String {
        switch self {
        case .neutral: "neutral"
        case .drop: "drop"
        case .rewrite: "rewrite"
        case .random: "random"
        case .tls: "tls"
        case .dns: "dns"
        case .file: "file"
        }
    }

    /// Bytes that it needs to be what it says; a shorter payload is its beginning.
    public var minimumLength: Int {
        switch self {
        case .neutral, .random, .file: 0
        case .drop: Self.dropMe.count
        case .rewrite: Self.weaklyTyped.count
        case .tls: Self.clientHello(0, seed: 0).count
        case .dns: Self.query(0, seed: 0).count
        }
    }

    /// A payload of exactly `length` bytes, the same for the same seed.
    public func bytes(_ length: Int, seed: UInt64) -> [UInt8] {
        precondition(length >= 0)
        switch self {
        case .neutral: return Self.text(length, seed: seed)
        case .drop: return Self.text(length, seed: seed, with: Self.dropMe)
        case .rewrite: return Self.text(length, seed: seed, with: Self.weaklyTyped)
        case .random: return Self.noise(length, seed: seed)
        case .tls: return Array(Self.clientHello(length, seed: seed).prefix(length))
        case .dns: return Array(Self.query(length, seed: seed).prefix(length))
        case .file(let bytes):
            // Each seed begins elsewhere, so that payloads differ as the file does.
            let start = Int(seed % UInt64(bytes.count))
            return (0..<length).map { bytes[(start + $0) % bytes.count] }
        }
    }

    // ---- Text.

    static let dropMe = Array("drop me".utf8)
    static let weaklyTyped = Array("weakly typed".utf8)
    /// No part of it, nor of its repetition, is one of the two above.
    private static let filler = Array(
        "the quick brown fox jumps over a lazy dog, 0123456789; ".utf8)

    private static func text(_ length: Int, seed: UInt64, with word: [UInt8] = []) -> [UInt8] {
        let start = Int(seed % UInt64(filler.count))
        var bytes = (0..<length).map { filler[(start + $0) % filler.count] }
        guard length >= word.count else { return Array(word.prefix(length)) }
        let at = Int((seed >> 8) % UInt64(length - word.count + 1))
        bytes.replaceSubrange(at..<at + word.count, with: word)
        return bytes
    }

    private static func noise(_ length: Int, seed: UInt64) -> [UInt8] {
        var dice = SplitMix64(seed: seed)
        return (0..<length).map { _ in UInt8(truncatingIfNeeded: dice.next() >> 56) }
    }

    // ---- TLS.

    /// A ClientHello in one record, padded to `length` by the padding extension (RFC 7685) where
    /// that is longer. A record holds at most 16384 bytes; beyond it the next one begins.
    private static func clientHello(_ length: Int, seed: UInt64) -> [UInt8] {
        let largestRecord = 16_384
        var hello = record(clientHello(padding: nil, seed: seed))
        // Type and length of the padding extension take four bytes themselves.
        let missing = min(length, largestRecord + 5) - hello.count - 4
        if missing >= 0 { hello = record(clientHello(padding: missing, seed: seed)) }
        // What is left is the beginning of application data.
        if hello.count < length {
            let rest = length - hello.count
            hello += [0x17, 3, 3] + big16(max(rest - 5, 0) % largestRecord)
            hello += noise(max(rest - 5, 0), seed: seed)
        }
        return hello
    }

    private static func record(_ handshake: [UInt8]) -> [UInt8] {
        [0x16, 3, 1] + big16(handshake.count) + handshake
    }

    private static func clientHello(padding: Int?, seed: UInt64) -> [UInt8] {
        var extensions = serverName("www.example.com")
        // supported_groups: X25519, secp256r1.
        extensions += tlsExtension(10, sized16([0, 0x1D, 0, 0x17]))
        // signature_algorithms: ECDSA and RSA-PSS with SHA-256.
        extensions += tlsExtension(13, sized16([4, 3, 8, 4]))
        // application_layer_protocol_negotiation: h2.
        extensions += tlsExtension(16, sized16([2] + Array("h2".utf8)))
        // supported_versions: TLS 1.3.
        extensions += tlsExtension(43, [2, 3, 4])
        // key_share: X25519.
        extensions += tlsExtension(51, sized16([0, 0x1D] + sized16(noise(32, seed: seed &+ 2))))
        if let padding { extensions += tlsExtension(21, [UInt8](repeating: 0, count: padding)) }

        var body: [UInt8] = [3, 3] + noise(32, seed: seed)
        body += [32] + noise(32, seed: seed &+ 1)
        body += sized16([0x13, 1, 0x13, 2, 0x13, 3])
        body += [1, 0] + sized16(extensions)
        return [1, 0] + sized16(body)
    }

    private static func serverName(_ name: String) -> [UInt8] {
        tlsExtension(0, sized16([0] + sized16(Array(name.utf8))))
    }

    private static func tlsExtension(_ type: Int, _ data: [UInt8]) -> [UInt8] {
        big16(type) + sized16(data)
    }

    // ---- DNS.

    /// A query for the address of a name, with an OPT record that pads it to `length`.
    private static func query(_ length: Int, seed: UInt64) -> [UInt8] {
        // Identifier, recursion desired, one question, one additional record.
        let identifier = Int(truncatingIfNeeded: seed & 0xFFFF)
        var message = big16(identifier) + [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]
        for label in ["host\(100 + seed % 900)", "example", "com"] {
            message += [UInt8(label.utf8.count)] + Array(label.utf8)
        }
        message += [0, 0, 1, 0, 1]
        // RFC 6891: the root's name, type 41, room for 1232 bytes; options follow.
        message += [0, 0, 41] + big16(1232) + [0, 0, 0, 0]
        let padding = max(length - message.count - 6, 0)
        let option = big16(12) + big16(padding) + [UInt8](repeating: 0, count: padding)
        return message + big16(option.count) + option
    }

    // ---- Bytes.

    private static func big16(_ value: Int) -> [UInt8] {
        [UInt8(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value)]
    }

    /// With its length in 16 bits in front.
    private static func sized16(_ bytes: [UInt8]) -> [UInt8] { big16(bytes.count) + bytes }
}
