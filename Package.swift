// swift-tools-version: 6.2
// Sluice: a virtual appliance for AWS Gateway Load Balancer.
//
// Arrows go one way: CSluice <- Wire <- PacketIO <- Dataplane <- RuleEngine <- Configuration <- Explain and
// Appliance <- Sluice <- executables. The hot modules (Wire, PacketIO, Dataplane, RuleEngine) have no
// third-party dependency and import nothing of the control side: ArchitectureTests guards that.
import PackageDescription

let hot: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableExperimentalFeature("Lifetimes"),
]
/// The control side: every unsafe use is marked and says why it is sound.
let safe: [SwiftSetting] = [.strictMemorySafety()]

let package = Package(
    name: "sluice",
    products: [
        .library(name: "SluiceCore", targets: ["SluiceCore"]),
        .library(name: "Sluice", targets: ["Sluice"]),
        .library(name: "SluiceTesting", targets: ["SluiceTesting"]),
        .executable(name: "sluice", targets: ["SluiceCommand"]),
        .executable(name: "sluice-gwlb", targets: ["GatewayCommand"]),
        .executable(name: "sluice-gen", targets: ["GeneratorCommand"]),
    ],
    traits: [
        .trait(
            name: "Vectorscan",
            description: "Search payloads with the library Vectorscan (libvectorscan-dev).")
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // System headers and the calls Swift cannot import; CNuma only carries the link flag.
        .systemLibrary(name: "CNuma", pkgConfig: "numa", providers: [.apt(["libnuma-dev"])]),
        .target(name: "CSluice", dependencies: ["CNuma"]),

        // The hot path.
        .target(name: "Wire", dependencies: ["CSluice"], swiftSettings: hot),
        .target(
            name: "CVectorscan",
            cSettings: [.define("SLUICE_VECTORSCAN", .when(traits: ["Vectorscan"]))],
            linkerSettings: [.linkedLibrary("hs", .when(traits: ["Vectorscan"]))]),
        .target(name: "PacketIO", dependencies: ["CSluice", "Wire"], swiftSettings: hot),
        .target(
            name: "Dataplane", dependencies: ["CSluice", "Wire", "PacketIO"], swiftSettings: hot),
        .target(
            name: "RuleEngine",
            dependencies: [
                "CSluice", "Wire", "PacketIO", "Dataplane",
                .target(name: "CVectorscan", condition: .when(traits: ["Vectorscan"])),
            ], swiftSettings: hot),

        // What the three programs have in common: exit codes, one error type, lines, JSON.
        .target(name: "Support", dependencies: ["CSluice", "PacketIO"]),

        // Capture files, read for replay and for sluice check --explain.
        .target(name: "Capture", dependencies: ["Wire"], swiftSettings: hot),

        // Text to values: settings and policies. Knows no socket and no thread.
        .target(
            name: "Configuration",
            dependencies: [
                "CSluice", "Wire", "PacketIO", "Dataplane", "RuleEngine", "Capture", "Support",
                "Yams", .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: safe),
        // What sluice check says: a policy in words, and what it does to the packets of a capture.
        .target(
            name: "Explain",
            dependencies: [
                "Wire", "PacketIO", "Dataplane", "RuleEngine", "Capture", "Configuration",
                "Support",
            ], swiftSettings: safe),
        // The process around the workers: start, loop, health, reload, metrics.
        .target(
            name: "Appliance",
            dependencies: [
                "CSluice", "Wire", "PacketIO", "Dataplane", "RuleEngine", "Configuration",
                "Support",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ], swiftSettings: safe),

        // The library faces.
        .target(name: "SluiceCore", dependencies: ["Wire", "PacketIO", "Dataplane", "RuleEngine"]),
        .target(
            name: "Sluice",
            dependencies: [
                "PacketIO",
                "SluiceCore", "Configuration", "Explain", "Appliance", "Support",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .target(
            name: "SluiceTesting", dependencies: ["RuleEngine", "CSluice", "SluiceCore"],
            swiftSettings: hot),

        // What a right answer is, for the emulator and the traffic generator; and the emulator.
        .target(name: "Verification", dependencies: ["Wire"], swiftSettings: hot),
        .target(name: "Gateway", dependencies: ["Verification", "Wire"], swiftSettings: hot),

        .executableTarget(name: "SluiceCommand", dependencies: ["Sluice"]),
        .executableTarget(
            name: "GatewayCommand",
            dependencies: [
                "Gateway", "CSluice", "Wire", "PacketIO", "Support", "Yams",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        // The cost of the packet loop, counted by tools/instructions beside the same work in C.
        .target(name: "CInspect", path: "Tests/CInspect"),
        .executableTarget(
            name: "PacketCost", dependencies: ["CInspect", "SluiceCore", "SluiceTesting"],
            path: "Tests/PacketCost",
            // Its malloc, which counts, stands before the C library's also in a static program.
            linkerSettings: [.unsafeFlags(["-Xlinker", "-z", "-Xlinker", "muldefs"])]),

        // The traffic generator: traffic model, sender, verification of every returned packet.
        .target(
            name: "Generator",
            dependencies: [
                "CSluice", "Wire", "PacketIO", "Verification", "Capture", "Support",
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ], swiftSettings: safe),
        .executableTarget(
            name: "GeneratorCommand",
            dependencies: [
                "CSluice", "Wire",
                "Generator", "Verification", "Capture", "Support",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            resources: [.embedInCode("report.py")]),

        .testTarget(name: "SupportTests", dependencies: ["Support"]),
        .testTarget(name: "WireTests", dependencies: ["Wire", "SluiceTesting"]),
        .testTarget(name: "CaptureTests", dependencies: ["Capture", "SluiceTesting"]),
        .testTarget(
            name: "PacketIOTests", dependencies: ["Wire", "PacketIO", "SluiceTesting", "CSluice"]),
        .testTarget(
            name: "DataplaneTests",
            dependencies: [
                "Wire", "PacketIO", "SluiceCore", "Dataplane", "RuleEngine", "SluiceTesting",
                "CSluice",
            ]),
        .testTarget(
            name: "ConfigurationTests",
            dependencies: [
                "Wire", "Dataplane", "RuleEngine",
                "Configuration", "Explain", "Appliance", "Sluice", "Support", "SluiceTesting",
            ],
            exclude: ["WrongConfigs"]),
        .testTarget(
            name: "ApplianceTests",
            dependencies: [
                "CSluice", "Dataplane", "RuleEngine", "Configuration", "Appliance", "Support",
                "SluiceTesting",
            ]),
        .testTarget(
            name: "GeneratorTests",
            dependencies: [
                "Wire", "Support", "Generator", "Verification", "Capture", "Dataplane",
                "SluiceTesting",
            ]),
        .testTarget(
            name: "VerificationTests",
            dependencies: ["Wire", "Verification", "SluiceTesting"]),
        .testTarget(
            name: "GatewayTests",
            dependencies: ["Wire", "SluiceCore", "Gateway", "Verification", "SluiceTesting"]),
    ],
    swiftLanguageModes: [.v6]
)

// The fuzzer needs flags that a dependency may not have: only tools/fuzz asks for it.
if Context.environment["SLUICE_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "FuzzPacket", dependencies: ["SluiceCore", "SluiceTesting"],
            path: "Tests/Fuzz/FuzzPacket",
            swiftSettings: [.unsafeFlags(["-parse-as-library"])]))
}
