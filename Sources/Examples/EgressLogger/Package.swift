// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "egress-logger",
    products: [.executable(name: "egress-logger", targets: ["EgressLogger"])],
    dependencies: [
        // A checkout of Sluice, here the one that this example is part of.
        .package(name: "sluice", path: "../../..")
    ],
    targets: [
        .executableTarget(
            name: "EgressLogger",
            dependencies: [
                // The processor needs the packet path alone, the program around it the appliance.
                .product(name: "SluiceCore", package: "sluice"),
                .product(name: "Sluice", package: "sluice"),
            ])
    ]
)
