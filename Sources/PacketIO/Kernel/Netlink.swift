import CSluice

/// A batch of netlink messages for nf_tables (nfnetlink.h, nf_tables.h): all of it is done or
/// nothing. Numbers in attributes are in network byte order, those of headers in the host's.
struct NetfilterBatch {
    /// A constant of the kernel's headers.
    typealias Constant = RawRepresentable<UInt32>

    private(set) var bytes: [UInt8] = []
    /// What each message does, for errors; the index is its sequence number.
    private(set) var steps: [String] = []
    private var message = 0

    init() {
        begin("begin the batch", NFNL_MSG_BATCH_BEGIN, family: 0, resource: NFNL_SUBSYS_NFTABLES)
        end()
    }

    /// Closes the batch.
    mutating func finish() {
        begin("end the batch", NFNL_MSG_BATCH_END, family: 0, resource: NFNL_SUBSYS_NFTABLES)
        end()
    }

    /// One message about nf_tables objects of the netdev family.
    mutating func add(
        _ step: String, _ type: some Constant, flags: Int32 = NLM_F_CREATE,
        _ body: (inout NetfilterBatch) -> Void
    ) {
        begin(
            step, NFNL_SUBSYS_NFTABLES << 8 | Int32(type.rawValue),
            flags: flags | NLM_F_ACK, family: UInt8(NFPROTO_NETDEV), resource: 0)
        body(&self)
        end()
    }

    // ---- Attributes.

    mutating func put(_ attribute: some Constant, _ value: [UInt8]) {
        put(UInt16(4 + value.count))
        put(UInt16(attribute.rawValue))
        bytes += value
        pad()
    }

    mutating func put(_ attribute: some Constant, _ value: UInt32) {
        put(attribute, bigEndian(value))
    }

    mutating func put(_ attribute: some Constant, _ value: some Constant) {
        put(attribute, value.rawValue)
    }

    /// Ends with a zero byte.
    mutating func put(_ attribute: some Constant, _ value: String) {
        put(attribute, Array(value.utf8) + [0])
    }

    mutating func nest(_ attribute: some Constant, _ body: (inout NetfilterBatch) -> Void) {
        let start = bytes.count
        put(UInt16(0))
        put(UInt16(attribute.rawValue) | UInt16(NLA_F_NESTED))
        body(&self)
        patch(start, UInt16(bytes.count - start))
    }

    // ---- Expressions of a rule.

    /// An expression by its kernel name.
    mutating func expression(_ name: String, _ body: (inout NetfilterBatch) -> Void) {
        nest(NFTA_LIST_ELEM) {
            $0.put(NFTA_EXPR_NAME, name)
            $0.nest(NFTA_EXPR_DATA, body)
        }
    }

    /// Loads bytes of the packet and goes on only if they are `value`.
    mutating func require(
        _ base: some Constant, at offset: UInt32, mask: [UInt8]? = nil, equals value: [UInt8]
    ) {
        expression("payload") {
            $0.put(NFTA_PAYLOAD_DREG, NFT_REG_1)
            $0.put(NFTA_PAYLOAD_BASE, base)
            $0.put(NFTA_PAYLOAD_OFFSET, offset)
            $0.put(NFTA_PAYLOAD_LEN, UInt32(value.count))
        }
        if let mask {
            expression("bitwise") {
                $0.put(NFTA_BITWISE_SREG, NFT_REG_1)
                $0.put(NFTA_BITWISE_DREG, NFT_REG_1)
                $0.put(NFTA_BITWISE_LEN, UInt32(mask.count))
                $0.nest(NFTA_BITWISE_MASK) { $0.put(NFTA_DATA_VALUE, mask) }
                $0.nest(NFTA_BITWISE_XOR) {
                    $0.put(NFTA_DATA_VALUE, [UInt8](repeating: 0, count: mask.count))
                }
            }
        }
        requireRegister(equals: value)
    }

    /// Goes on only if the register holds `value`.
    mutating func requireRegister(equals value: [UInt8]) {
        expression("cmp") {
            $0.put(NFTA_CMP_SREG, NFT_REG_1)
            $0.put(NFTA_CMP_OP, NFT_CMP_EQ)
            $0.nest(NFTA_CMP_DATA) { $0.put(NFTA_DATA_VALUE, value) }
        }
    }

    mutating func drop() {
        expression("immediate") {
            $0.put(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
            $0.nest(NFTA_IMMEDIATE_DATA) {
                $0.nest(NFTA_DATA_VERDICT) { $0.put(NFTA_VERDICT_CODE, UInt32(NF_DROP)) }
            }
        }
    }

    // ---- Bytes.

    private mutating func begin(
        _ step: String, _ type: Int32, flags: Int32 = 0, family: UInt8, resource: Int32
    ) {
        message = bytes.count
        put(UInt32(0))  // the length: end() knows it
        put(UInt16(type))
        put(UInt16(NLM_F_REQUEST | flags))
        put(UInt32(steps.count))
        put(UInt32(0))
        bytes += [family, UInt8(NFNETLINK_V0)]
        bytes += bigEndian(UInt32(resource)).suffix(2)
        steps.append(step)
    }

    private mutating func end() {
        patch(message, UInt32(bytes.count - message))
    }

    private mutating func put(_ value: some FixedWidthInteger) {
        unsafe withUnsafeBytes(of: value) { unsafe bytes += $0 }
    }
    private mutating func patch(_ at: Int, _ value: some FixedWidthInteger) {
        unsafe withUnsafeBytes(of: value) {
            unsafe bytes.replaceSubrange(at..<at + $0.count, with: $0)
        }
    }
    /// Attributes start on four bytes.
    private mutating func pad() {
        while bytes.count % 4 != 0 { bytes.append(0) }
    }
}

func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    unsafe withUnsafeBytes(of: value.bigEndian) { unsafe Array($0) }
}

extension FileDescriptor {
    /// Sends a batch on this netlink socket and waits until the kernel has said what became of it.
    borrowing func perform(_ batch: NetfilterBatch) throws(IOFailure) {
        let bytes = batch.bytes
        guard unsafe send(raw, bytes, bytes.count, 0) == bytes.count else {
            throw IOFailure("talk to nf_tables")
        }
        // One answer for each message between begin and end; after an error no more is needed.
        var answer = [UInt8](repeating: 0, count: 8192)
        var answers = 0
        while answers < batch.steps.count - 2 {
            let count = unsafe recv(raw, &answer, answer.count, 0)
            guard count > 0 else { throw IOFailure("hear from nf_tables") }
            var at = 0
            while at + 20 <= count {
                let length = Int(word(answer, at))
                guard length >= 20, at + length <= count else { break }
                let step = Int(word(answer, at + 8))
                let error = Int32(bitPattern: word(answer, at + 16))
                guard error == 0 else {
                    let what = batch.steps.indices.contains(step) ? batch.steps[step] : "set up"
                    throw IOFailure("\(what) (nf_tables)", errno: -error)
                }
                answers += 1
                at += (length + 3) & ~3
            }
        }
    }

    /// - Precondition: four bytes are there.
    private borrowing func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        unsafe bytes.withUnsafeBytes {
            unsafe $0.loadUnaligned(fromByteOffset: at, as: UInt32.self)
        }
    }
}
