/// How log lines are written.
public enum LogFormat: String, CaseIterable, Sendable { case text, json }
