import CSluice
import PacketIO
import Testing

/// The small parts, without privilege.
@Suite("Parts of the socket backends")
struct PartsTests {
    @Test func `a receiver tells a dead socket from an empty one`() throws {
        let options = try socketOptions()
        let empty = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a UDP socket")
        var idle = try BurstReceiver(socket: empty, options)
        #expect(idle.receive { _ in Issue.record("nothing was sent") } == 0)
        let noSocket = FileDescriptor(eventfd(0, Int32(EFD_CLOEXEC)))
        var dead = try BurstReceiver(socket: noSocket, options)
        #expect(dead.receive { _ in Issue.record("nothing was sent") } == -Int(ENOTSOCK))
    }

    @Test func `slots lie one behind the other, zeroed, on a page`() throws {
        let ring = try BufferRing(slots: 3, slotSize: 320, node: -1)
        #expect(ring.byteCount == 960)
        #expect(UInt(bitPattern: ring.slot(0)) % 4096 == 0)
        for i in 0..<3 {
            #expect(ring.slot(i) == ring.slot(0) + i * 320)
            let bytes = UnsafeRawBufferPointer(start: ring.slot(i), count: 320)
            #expect(bytes.allSatisfy { $0 == 0 })
        }
    }

    @Test func `a table keeps its elements where they are`() {
        let table = FixedTable<UInt64>(count: 3, repeating: 7)
        table.pointer(2).pointee = 9
        #expect((0..<3).map { table.pointer($0).pointee } == [7, 7, 9])
        #expect(FixedTable<UInt64>(count: 0, repeating: 0).count == 0)
    }

    @Test(arguments: [false, true])
    func `a descriptor closes itself, unless told to stay`(stays: Bool) throws {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        let peer = FileDescriptor(ends[1])
        let descriptor = FileDescriptor(ends[0])
        if stays { descriptor.keepUntilExit() } else { _ = consume descriptor }
        var byte: UInt8 = 0
        let result = recv(peer.raw, &byte, 1, Int32(MSG_DONTWAIT))
        #expect(result == (stays ? -1 : 0), "0: the other end is closed")
        if stays { close(ends[0]) }
    }

    @Test func `buffers are as large as asked for, or as the host allows`() throws {
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a UDP socket")
        let small = socket.setReceiveBuffer(8192)
        #expect(small >= 8192)
        #expect(socket.setReceiveBuffer(65_536) > small)
        #expect(socket.setSendBuffer(65_536) >= 65_536)
    }

    @Test func `a refused option is an error with a reason`() throws {
        let notSocket = FileDescriptor(eventfd(0, 0))
        let error = #expect(throws: IOFailure.self) {
            try notSocket.set(SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT")
        }
        #expect(error?.description == "cannot set SO_REUSEPORT: Socket operation on non-socket")
        #expect(error?.isPermission == false)
        #expect(IOFailure("x", errno: EPERM).isPermission)
    }
}
