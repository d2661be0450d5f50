/// Memory of one worker for rewrites: what they keep to, and room for the offset of every byte of a
/// packet, where occurrences are noted. In memory, so that packets which are not rewritten carry one
/// address for all of it.
@safe @usableFromInline struct RewriteSpace: BitwiseCopyable {
    private struct Limits: BitwiseCopyable {
        var mtu: Int
        var checksumPolicy: PathSettings.ChecksumPolicy
    }

    /// The limits, then 16 bits for every byte of the longest IPv4 packet.
    static var byteCount: Int { offsets + (2 << 16) }
    private static var offsets: Int { 16 }

    @usableFromInline let memory: UnsafeMutableRawPointer

    /// - Parameter memory: `byteCount` bytes that outlive all packets.
    @unsafe @inlinable
    init(_ memory: UnsafeMutableRawPointer) { unsafe self.memory = unsafe memory }

    /// Once a burst.
    @usableFromInline
    func keep(to settings: PathSettings) {
        let limits = Limits(mtu: settings.mtu, checksumPolicy: settings.verifyOuterChecksum)
        // Sound: the limits stand first, in 16 bytes.
        unsafe memory.storeBytes(of: limits, as: Limits.self)
    }

    /// Largest inner packet after a rewrite, bytes.
    // Sound, both: keep(to:) has stored the limits.
    var mtu: Int { unsafe memory.load(as: Limits.self).mtu }
    var checksumPolicy: PathSettings.ChecksumPolicy {
        unsafe memory.load(as: Limits.self).checksumPolicy
    }

    /// - Parameter index: less than the bytes of a packet.
    func note(_ offset: Int, at index: Int) {
        // Sound: there are 16 bits for every byte of the longest IPv4 packet.
        unsafe memory.storeBytes(
            of: UInt16(truncatingIfNeeded: offset), toByteOffset: RewriteSpace.offsets + index * 2,
            as: UInt16.self)
    }

    /// What was noted at `index`.
    func offset(at index: Int) -> Int {
        // Sound: as note.
        unsafe Int(
            memory.load(fromByteOffset: RewriteSpace.offsets + index * 2, as: UInt16.self))
    }
}
