// swift-tools-version: 6.2
// Measurements, apart from the product: users of the library and CI never build this.
import PackageDescription

let package = Package(
    name: "sluice-benchmarks",
    dependencies: [.package(name: "sluice", path: "..")],
    targets: [
        .executableTarget(
            name: "Micro",
            dependencies: [
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "SluiceTesting", package: "sluice"),
            ]),
        .executableTarget(
            name: "FlowCost",
            dependencies: [.product(name: "SluiceCore", package: "sluice")]),
        .executableTarget(
            name: "RuleCost",
            dependencies: [
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "SluiceTesting", package: "sluice"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)
