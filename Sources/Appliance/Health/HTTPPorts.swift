/// The health port, and the port of `/metrics` and `/status` where they have one of their own.
struct HTTPPorts {
    private let renderer: PageRenderer
    private let servers: [HealthServer]

    init(
        health: consuming ListenSocket, admin: consuming ListenSocket?, gauges: Gauges
    ) throws {
        renderer = PageRenderer(gauges: gauges)
        let all = HealthServer.Pages(gauges: gauges, renderer: renderer)
        guard let admin else {
            let most = try Descriptors.clients(ports: 1)
            servers = [try HealthServer(health, all, mostClients: most)]
            return
        }
        let most = try Descriptors.clients(ports: 2)
        let healthAlone = HealthServer.Pages(
            gauges: gauges,
            others: "try /health; /metrics and /status are served on \(admin.name)\n")
        servers = [
            try HealthServer(health, healthAlone, mostClients: most),
            try HealthServer(admin, all, mostClients: most),
        ]
    }

    func stop() {
        renderer.stop()
        for server in servers { server.stop() }
    }
}
