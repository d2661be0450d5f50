/// What a running appliance cannot take over.
package enum LiveChange {
    /// The keys that differ; of a section that cannot change at all, the section.
    package static func refused(from old: Configuration, to new: Configuration) -> [String] {
        var names: [String] = []
        for setting in Settings.all {
            guard let key = setting.key, setting.effect == .restart,
                setting.text(old) != setting.text(new)
            else { continue }
            let section = key.split(separator: ".").dropLast().joined(separator: ".")
            let name = isFixed(section) ? section : key
            if names.last != name { names.append(name) }
        }
        return names
    }

    private static func isFixed(_ section: String) -> Bool {
        !section.isEmpty
            && Settings.all.allSatisfy {
                $0.effect == .restart || $0.key?.hasPrefix(section + ".") != true
            }
    }
}
