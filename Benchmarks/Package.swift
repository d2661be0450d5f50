// swift-tools-version: 6.2
// Measurements, apart from the product: users of the library and CI never build this.
import PackageDescription

let package = Package(
    name: "sluice-benchmarks",
    traits: [.trait(name: "Vectorscan", description: "As the trait of the product.")],
    dependencies: [
        .package(
            name: "sluice", path: "..",
            traits: [.trait(name: "Vectorscan", condition: .when(traits: ["Vectorscan"]))])
    ],
    targets: [
        .executableTarget(
            name: "Micro",
            dependencies: [
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "SluiceTesting", package: "sluice"),
            ]),
        .target(name: "CMemmem"),
        .executableTarget(
            name: "FlowCost",
            dependencies: [.product(name: "SluiceCore", package: "sluice")]),
        .executableTarget(
            name: "RuleCost",
            dependencies: [
                "CMemmem",
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "SluiceTesting", package: "sluice"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)
