import CSluice
import PacketIO
import Testing

/// The assembler's programs run in the kernel, which is the one judge that counts.
@Suite("The BPF assembler")
struct ClassicBPFTests {
    /// The length that a program leaves of eight bytes 1, 2, … 8: its result, up to 8.
    private func run(_ write: (inout BPFAssembler) -> Void) throws -> Int? {
        var a = BPFAssembler()
        write(&a)
        return try KernelFilter(a.assemble()).run([1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func `a returned value is the length that is kept`() throws {
        #expect(try run { $0.returnValue(5) } == 5)
        #expect(try run { $0.returnValue(0) } == nil)
    }

    @Test func `loads read bytes, halves and words in network byte order`() throws {
        #expect(
            try run {
                $0.loadByte(absolute: 6)
                $0.returnA()
            } == 7)
        #expect(
            try run {
                $0.loadX(3)
                $0.loadByte(indirect: 1)
                $0.returnA()
            } == 5)
        #expect(
            try run {
                $0.loadX(1)
                $0.loadHalf(indirect: 1)  // 0x0304
                $0.shiftRight(8)
                $0.returnA()
            } == 3)
        #expect(
            try run {
                $0.loadX(0)
                $0.loadWord(indirect: 4)  // 0x05060708
                $0.shiftRight(16)
                $0.and(0xFF)
                $0.returnA()
            } == 6)
    }

    @Test func `arithmetic wraps at 32 bits`() throws {
        #expect(
            try run {
                $0.load(0xFFFF_FFFF)
                $0.add(4)
                $0.returnA()
            } == 3)
        #expect(
            try run {
                $0.load(0x8000_0001)
                $0.multiply(2)
                $0.shiftLeft(1)
                $0.returnA()
            } == 4)
        #expect(
            try run {
                $0.load(7)
                $0.copyAToX()
                $0.load(5)
                $0.xorX()  // 2
                $0.addX()  // 9
                $0.subtractX()  // 2
                $0.copyAToX()
                $0.load(0)
                $0.copyXToA()
                $0.returnA()
            } == 2)
    }

    @Test func `scratch cells keep A, for A and for X`() throws {
        #expect(
            try run {
                $0.load(6)
                $0.store(cell: 15)
                $0.load(0)
                $0.loadX(cell: 15)
                $0.copyXToA()
                $0.load(cell: 15)
                $0.returnA()
            } == 6)
    }

    @Test func `the packet's length can be read`() throws {
        #expect(
            try run {
                $0.loadLength()
                $0.add(UInt32(bitPattern: -2))
                $0.returnA()
            } == 6)
    }

    /// 1 when the branch is taken with 10 in A (and in X, what is given), else 2.
    private func branch(
        x: UInt32 = 0, _ jump: (inout BPFAssembler, BPFAssembler.Label) -> Void
    ) throws -> Bool {
        try run { a in
            let taken = a.label()
            a.loadX(x)
            a.load(10)
            jump(&a, taken)
            a.returnValue(2)
            a.place(taken)
            a.returnValue(1)
        } == 1
    }

    @Test func `branches are taken when their condition holds and only then`() throws {
        #expect(try branch { $0.jump(to: $1) })
        #expect(try branch { $0.jump(ifEqual: 10, to: $1) })
        #expect(try !branch { $0.jump(ifEqual: 9, to: $1) })
        #expect(try branch { $0.jump(ifNotEqual: 9, to: $1) })
        #expect(try !branch { $0.jump(ifNotEqual: 10, to: $1) })
        #expect(try branch { $0.jump(ifLess: 11, to: $1) })
        #expect(try !branch { $0.jump(ifLess: 10, to: $1) })
        #expect(try branch { $0.jump(ifAnySet: 0b0110, to: $1) })
        #expect(try !branch { $0.jump(ifAnySet: 0b0101, to: $1) })
        #expect(try branch(x: 0xFFFF_FFFF) { $0.jump(ifLessThanXTo: $1) })
        #expect(try !branch(x: 10) { $0.jump(ifLessThanXTo: $1) })
    }

    @Test(arguments: [0, 1, 253, 254, 255, 256, 257, 1000, 4000])
    func `a conditional jump reaches over any number of instructions`(distance: Int) throws {
        for isEqual in [true, false] {
            let result = try run { a in
                let far = a.label()
                a.load(isEqual ? 1 : 2)
                a.jump(ifEqual: 1, to: far)
                for _ in 0..<distance { a.load(0) }
                a.returnValue(3)
                a.place(far)
                a.returnValue(4)
            }
            #expect(result == (isEqual ? 4 : 3))
        }
    }

    @Test func `many jumps share one label`() throws {
        for value in 0..<4 as Range<UInt32> {
            let result = try run { a in
                let hit = a.label()
                a.load(value)
                for k in 1...3 as ClosedRange<UInt32> { a.jump(ifEqual: k, to: hit) }
                a.returnValue(1)
                a.place(hit)
                a.returnValue(2)
            }
            #expect(result == (value == 0 ? 1 : 2))
        }
    }

    @Test func `a load beyond the packet ends the program with nothing accepted`() throws {
        #expect(
            try run {
                $0.loadByte(absolute: 8)
                $0.returnValue(1)
            } == nil)
    }

    @Test func `the kernel's refusal of a program is an error with a reason`() throws {
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a UDP socket")
        let error = #expect(throws: IOFailure.self) {
            try socket.attach([], "an empty program")
        }
        #expect(error?.errno == EINVAL)
        #expect(error?.description == "cannot attach an empty program: Invalid argument")
    }
}
