import CSluice

/// An assembler for classic BPF (Linux Documentation/networking/filter.rst): instructions with
/// labels, resolved to the forward jumps that the kernel accepts.
public struct BPFAssembler {
    /// A place to jump to, later in the program.
    public struct Label: Hashable { let id: Int }

    /// Scratch memory cells M[0] … M[15].
    public typealias Cell = UInt32

    private var code: [sock_filter] = []
    private var labels = 0
    private var places: [Label: Int] = [:]
    private var pending: [(at: Int, to: Label)] = []

    public init() {}

    // ---- Loads. A load beyond the packet ends the program with 0: guard each by the length.

    public mutating func loadByte(indirect k: UInt32) { emit(BPF_LD | BPF_B | BPF_IND, k) }
    public mutating func loadHalf(indirect k: UInt32) { emit(BPF_LD | BPF_H | BPF_IND, k) }
    public mutating func loadWord(indirect k: UInt32) { emit(BPF_LD | BPF_W | BPF_IND, k) }
    public mutating func loadByte(absolute k: UInt32) { emit(BPF_LD | BPF_B | BPF_ABS, k) }
    public mutating func loadHalf(absolute k: UInt32) { emit(BPF_LD | BPF_H | BPF_ABS, k) }
    public mutating func loadWord(absolute k: UInt32) { emit(BPF_LD | BPF_W | BPF_ABS, k) }
    /// What the kernel knows beside the bytes: one of SKF_AD_*.
    public mutating func load(ancillary k: Int32) {
        emit(BPF_LD | BPF_W | BPF_ABS, UInt32(bitPattern: SKF_AD_OFF + k))
    }
    /// From the IPv4 header on, wherever the program's byte 0 lies.
    public mutating func loadWord(network k: Int32) {
        emit(BPF_LD | BPF_W | BPF_ABS, UInt32(bitPattern: SKF_NET_OFF + k))
    }
    public mutating func load(_ value: UInt32) { emit(BPF_LD | BPF_IMM, value) }
    public mutating func load(cell: Cell) { emit(BPF_LD | BPF_MEM, cell) }
    public mutating func loadLength() { emit(BPF_LD | BPF_W | BPF_LEN, 0) }
    public mutating func loadX(_ value: UInt32) { emit(BPF_LDX | BPF_IMM, value) }
    public mutating func loadX(cell: Cell) { emit(BPF_LDX | BPF_MEM, cell) }
    public mutating func store(cell: Cell) { emit(BPF_ST, cell) }
    public mutating func copyAToX() { emit(BPF_MISC | BPF_TAX, 0) }
    public mutating func copyXToA() { emit(BPF_MISC | BPF_TXA, 0) }

    // ---- Arithmetic on A, modulo 2^32.

    public mutating func add(_ k: UInt32) { emit(BPF_ALU | BPF_ADD | BPF_K, k) }
    public mutating func addX() { emit(BPF_ALU | BPF_ADD | BPF_X, 0) }
    public mutating func subtractX() { emit(BPF_ALU | BPF_SUB | BPF_X, 0) }
    public mutating func multiply(_ k: UInt32) { emit(BPF_ALU | BPF_MUL | BPF_K, k) }
    public mutating func modulo(_ k: UInt32) { emit(BPF_ALU | BPF_MOD | BPF_K, k) }
    public mutating func and(_ k: UInt32) { emit(BPF_ALU | BPF_AND | BPF_K, k) }
    public mutating func xor(_ k: UInt32) { emit(BPF_ALU | BPF_XOR | BPF_K, k) }
    public mutating func xorX() { emit(BPF_ALU | BPF_XOR | BPF_X, 0) }
    public mutating func shiftLeft(_ k: UInt32) { emit(BPF_ALU | BPF_LSH | BPF_K, k) }
    public mutating func shiftRight(_ k: UInt32) { emit(BPF_ALU | BPF_RSH | BPF_K, k) }

    // ---- Control.

    public mutating func label() -> Label {
        labels += 1
        return Label(id: labels)
    }

    public mutating func place(_ label: Label) {
        precondition(places[label] == nil, "a label has one place")
        places[label] = code.count
    }

    public mutating func jump(to label: Label) {
        pending.append((code.count, label))
        emit(BPF_JMP | BPF_JA, 0)
    }

    public mutating func jump(ifEqual k: UInt32, to label: Label) {
        branch(BPF_JEQ, k, true, label)
    }
    public mutating func jump(ifNotEqual k: UInt32, to label: Label) {
        branch(BPF_JEQ, k, false, label)
    }
    public mutating func jump(ifLess k: UInt32, to label: Label) {
        branch(BPF_JGE, k, false, label)
    }
    public mutating func jump(ifAtLeast k: UInt32, to label: Label) {
        branch(BPF_JGE, k, true, label)
    }
    public mutating func jump(ifAnySet k: UInt32, to label: Label) {
        branch(BPF_JSET, k, true, label)
    }
    /// Jumps when A < X, unsigned.
    public mutating func jump(ifLessThanXTo label: Label) {
        emit(BPF_JMP | BPF_JGE | BPF_X, 0, jt: 1, jf: 0)
        jump(to: label)
    }

    public mutating func returnValue(_ k: UInt32) { emit(BPF_RET | BPF_K, k) }
    public mutating func returnA() { emit(BPF_RET | BPF_A, 0) }

    /// The program. All labels used must have been placed, after their jumps.
    public func assemble() -> [sock_filter] {
        var code = code
        for (at, label) in pending {
            guard let place = places[label] else { preconditionFailure("a label has no place") }
            precondition(place > at, "classic BPF jumps forward only")
            code[at].k = UInt32(place - at - 1)
        }
        precondition(code.count <= Int(BPF_MAXINSNS))
        return code
    }

    /// A conditional jump reaches 255 instructions, an unconditional one everywhere: so every
    /// branch is a conditional skip over an unconditional jump.
    private mutating func branch(_ operation: Int32, _ k: UInt32, _ when: Bool, _ label: Label) {
        emit(BPF_JMP | operation | BPF_K, k, jt: when ? 0 : 1, jf: when ? 1 : 0)
        jump(to: label)
    }

    private mutating func emit(_ operation: Int32, _ k: UInt32, jt: UInt8 = 0, jf: UInt8 = 0) {
        code.append(sock_filter(code: UInt16(operation), jt: jt, jf: jf, k: k))
    }
}

extension FileDescriptor {
    /// Attaches a classic BPF program by one of the SO_ATTACH_* options.
    public borrowing func attach(
        _ program: [sock_filter], by option: Int32 = SO_ATTACH_FILTER, _ what: String
    ) throws(IOFailure) {
        try program.attach(to: raw, SOL_SOCKET, option, what)
    }

    /// Takes the socket's filter away again.
    public borrowing func detachFilter() throws(IOFailure) {
        try set(SOL_SOCKET, SO_DETACH_FILTER, 0, "SO_DETACH_FILTER")
    }
}

extension [sock_filter] {
    /// Makes this program the value of a socket option.
    func attach(
        to socket: Int32, _ level: Int32, _ option: Int32, _ what: String
    ) throws(IOFailure) {
        var program = self
        let result = unsafe program.withUnsafeMutableBufferPointer { buffer in
            var header = unsafe sock_fprog(len: UInt16(buffer.count), filter: buffer.baseAddress)
            return unsafe setsockopt(
                socket, level, option, &header, socklen_t(MemoryLayout<sock_fprog>.size))
        }
        guard result == 0 else { throw IOFailure("attach \(what)") }
    }
}
