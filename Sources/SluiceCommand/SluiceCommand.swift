import Sluice

@main
enum SluiceCommand {
    static func main() { Appliance.main(Rules.self, withoutConfig: BlogPolicy.self) }
}
