/// One Geneve option as it goes on the wire.
struct GeneveOptionDraft: Sendable {
    var optionClass: Int
    var type: Int
    /// A multiple of four bytes.
    var data: [UInt8]
    /// The length it claims, in words; nil = that of its data.
    var words: Int?

    init(_ optionClass: Int, _ type: Int, _ data: [UInt8], words: Int? = nil) {
        self.optionClass = optionClass
        self.type = type
        self.data = data
        self.words = words
    }

    var bytes: [UInt8] {
        [
            UInt8(optionClass >> 8), UInt8(optionClass & 0xFF), UInt8(type),
            UInt8(words ?? data.count / 4),
        ] + data
    }
}
