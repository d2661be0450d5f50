// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "dns-lifetime",
    products: [.executable(name: "dns-lifetime", targets: ["DNSLifetime"])],
    dependencies: [
        // A checkout of Sluice, here the one that this example is part of.
        .package(name: "sluice", path: "../../..")
    ],
    targets: [
        .executableTarget(
            name: "DNSLifetime",
            dependencies: [
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "Sluice", package: "sluice"),
            ]),
        .testTarget(
            name: "DNSLifetimeTests",
            dependencies: [
                "DNSLifetime",
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "SluiceTesting", package: "sluice"),
            ]),
    ]
)
