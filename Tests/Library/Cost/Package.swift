// swift-tools-version: 6.2
// Counts what the examples cost per packet. The test copies it, puts the examples' processors
// beside Cost.swift, and so compiles them in a user's package.
import PackageDescription

let package = Package(
    name: "cost",
    dependencies: [.package(name: "sluice", path: "../../..")],
    targets: [
        .executableTarget(
            name: "Cost",
            dependencies: [
                .product(name: "Sluice", package: "sluice"),
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "SluiceTesting", package: "sluice"),
            ])
    ]
)
