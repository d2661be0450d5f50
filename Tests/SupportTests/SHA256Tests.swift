import Support
import Testing

@Suite("SHA-256")
struct SHA256Tests {
    /// RFC 6234 §8.5, and lengths at which the padding takes another block; by `sha256sum`.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        ("A55", "8963cc0afd622cc7574ac2011f93a3059b3d65548a77542a1559e3d202e6ab00"),
        ("A64", "d53eda7a637c99cc7fb566d96e9fa109bf15c478410a3f5eb4d4c4e26cd081f6"),
    ])
    func digests(text: String, digest: String) {
        let bytes: [UInt8] =
            text.hasPrefix("A")
            ? [UInt8](repeating: 65, count: Int(text.dropFirst())!) : Array(text.utf8)
        #expect(SHA256.hexadecimal(of: bytes) == digest)
    }
}
