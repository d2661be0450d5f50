import Dataplane

/// A packet as the rules' table of fragments knows it.
enum FragmentKind: Int, BitwiseCopyable, CaseIterable { case whole, first, later }

extension Match.Fragment {
    func holds(_ kind: FragmentKind) -> Bool {
        switch self {
        case .first: kind == .first
        case .later: kind == .later
        case .any: kind != .whole
        case .none: kind == .whole
        }
    }
}
