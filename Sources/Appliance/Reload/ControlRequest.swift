import Foundation

struct ControlRequest: Codable {
    var command: String

    init(command: String) { self.command = command }

    /// Nil when the line is not a request.
    init?(_ line: Data) {
        guard let request = try? JSONDecoder().decode(ControlRequest.self, from: line) else {
            return nil
        }
        self = request
    }
}
