import CSluice
import Dispatch
import Foundation
import NIOCore
import Synchronization

/// Renders the long pages, `/metrics` and `/status`, on a thread of its own that gives way to all
/// others: neither a probe nor a packet waits for tens of thousands of rules, or for the driver of
/// a network card.
///
/// Who asks while a page is being rendered gets the next one, together with all others who ask
/// meanwhile: nobody gets a page older than the request. After each the thread rests for longer
/// than it has worked, so that no number of clients makes it take more than a share of a CPU.
final class PageRenderer: Sendable {
    enum Page { case metrics, status }

    /// Beside a worker that never sleeps it still has a tenth of the CPU.
    private static let niceness: Int32 = 10
    private static let restShare: UInt64 = 9
    private static let longestRest: UInt64 = 250_000_000

    private struct Request {
        let page: Page
        let loop: any EventLoop
        let answer: @Sendable (ByteBuffer) -> Void
    }

    private struct State {
        var requests: [Request] = []
        var isOver = false
    }

    private let gauges: Gauges
    private let state = Mutex(State())
    private let work = DispatchSemaphore(value: 0)

    init(gauges: Gauges) {
        self.gauges = gauges
        let thread = Thread { [self] in run() }
        thread.start()
    }

    /// - Parameter answer: is called on the loop with the page, unless the renderer stops before.
    func render(
        _ page: Page, on loop: any EventLoop, answer: @escaping @Sendable (ByteBuffer) -> Void
    ) {
        state.withLock { $0.requests.append(Request(page: page, loop: loop, answer: answer)) }
        work.signal()
    }

    /// From now on nothing is answered: the loops may go. Does not wait for a page being rendered.
    func stop() {
        state.withLock { $0 = State(isOver: true) }
        work.signal()
    }

    private func run() {
        // Sound: the name is a C string for the call.
        unsafe sluice_name_thread("sluice-pages")
        sluice_lower_thread_priority(PageRenderer.niceness)
        while true {
            work.wait()
            let (requests, isOver) = state.withLock { state in
                defer { state.requests = [] }
                return (state.requests, state.isOver)
            }
            if isOver { return }
            // Whoever signalled may have been served with those before.
            guard !requests.isEmpty else { continue }
            let start = sluice_monotonic_ns()
            answer(requests)
            let rest = (sluice_monotonic_ns() - start) * PageRenderer.restShare
            usleep(UInt32(min(rest, PageRenderer.longestRest) / 1000))
        }
    }

    private func answer(_ requests: [Request]) {
        let readings = gauges.read()
        for page in [Page.metrics, .status] {
            let asking = requests.filter { $0.page == page }
            guard !asking.isEmpty else { continue }
            let body = ByteBuffer(string: text(page, readings))
            state.withLock { state in
                guard !state.isOver else { return }
                for request in asking { request.loop.execute { request.answer(body) } }
            }
        }
    }

    private func text(_ page: Page, _ readings: Readings) -> String {
        switch page {
        case .metrics: MetricsText.render(readings)
        case .status: StatusJSON.status(readings)
        }
    }
}
