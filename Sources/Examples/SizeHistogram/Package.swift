// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "size-histogram",
    products: [.executable(name: "size-histogram", targets: ["SizeHistogram"])],
    dependencies: [
        // A checkout of Sluice, here the one that this example is part of.
        .package(name: "sluice", path: "../../..")
    ],
    targets: [
        .executableTarget(
            name: "SizeHistogram", dependencies: [.product(name: "Sluice", package: "sluice")])
    ]
)
