// The whole appliance as a library: the packet loop and everything around it.
@_exported import Appliance
@_exported import Configuration
@_exported import SluiceCore

extension Appliance {
    /// The whole program around one processor, with the command line of `sluice`: `run`, `check`,
    /// `reload`, `version`. Reads the arguments of the process and ends it.
    ///
    /// The packet loop is compiled for the processor in the module that calls this.
    ///
    ///     import Sluice
    ///
    ///     Appliance.main(MyProcessor.self)
    @inlinable
    public static func main<Processor: PacketProcessor & ~Copyable>(
        _ processor: Processor.Type
    ) -> Never {
        let body = WorkerBody(processor)
        runProgram(body, withoutConfig: body)
    }

    /// As `main(_:)`, with another processor where no config file is given.
    @inlinable
    public static func main<
        Processor: PacketProcessor & ~Copyable, BuiltIn: PacketProcessor & ~Copyable
    >(_ processor: Processor.Type, withoutConfig builtIn: BuiltIn.Type) -> Never {
        runProgram(WorkerBody(processor), withoutConfig: WorkerBody(builtIn))
    }

    @usableFromInline
    static func runProgram(_ body: WorkerBody, withoutConfig builtIn: WorkerBody) -> Never {
        Program(processor: body, builtIn: builtIn).runAndExit()
    }
}
