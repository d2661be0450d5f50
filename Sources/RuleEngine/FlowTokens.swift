import Dataplane

/// Where the tokens end that a flow took, for each limit `per: flow` of its policy.
struct FlowTokens: BitwiseCopyable, Sendable {
    private var words: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)

    @inline(__always)
    subscript(index: Int) -> UInt32 {
        get {
            index < 2
                ? (index == 0 ? words.0 : words.1) : (index == 2 ? words.2 : words.3)
        }
        set {
            if index == 0 {
                words.0 = newValue
            } else if index == 1 {
                words.1 = newValue
            } else if index == 2 {
                words.2 = newValue
            } else {
                words.3 = newValue
            }
        }
    }
}
