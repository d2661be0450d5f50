"""The blog policy in plain Python, and what the appliance makes of a packet by it."""

from dataclasses import replace

CHAT_PORT = 3000
MTU = 8500
FIND, WITH = b"weakly typed", b"strongly typed"
FORBIDDEN = b"drop me"


def is_chat(facts):
    return facts.protocol == 17 and CHAT_PORT in facts.ports


def is_fifth_ping(facts):
    if facts.version != 4 or facts.protocol != 1 or not facts.echo:
        return False
    kind, sequence = facts.echo
    return kind in (0, 8) and sequence % 5 == 0


def is_dropped(facts):
    """Drop rules: they see first fragments too, never later ones."""
    if facts.fragment == "later":
        return False
    return is_fifth_ping(facts) or (is_chat(facts) and FORBIDDEN in facts.payload)


def is_rewritten(facts):
    """A rewrite that changes lengths never applies to fragments."""
    return is_chat(facts) and facts.fragment == "none" and FIND in facts.payload


def reason_not_to_rewrite(outer, inner, rewritten):
    """A rewrite needs a right outer checksum, a right inner IPv4 header checksum and room."""
    if inner.header_error:
        return "inner_header_checksum"
    if "outer_udp" in outer.wrongs:
        return "outer_checksum"
    if len(rewritten.encode()) > MTU:
        return "too_big"
    return None


def judge(name, outer, inner):
    """The record of a packet that is whole from outside to inside."""
    received = outer.encode(inner.encode() + inner.trailing)
    wrongs = [*outer.wrongs, *inner.wrongs]
    if is_dropped(inner.facts):
        return drop(name, received, "rule")
    if not is_rewritten(inner.facts):
        answer = outer.turned_around().encode(inner.encode() + inner.trailing)
        return forward(name, received, answer, wrongs)
    rewritten = inner.with_payload(inner.payload.replace(FIND, WITH))
    reason = reason_not_to_rewrite(outer, inner, rewritten)
    if reason:
        return drop(name, received, reason)
    # What stood behind the inner packet is gone, wherever it stood.
    answer = replace(outer, beyond=b"").turned_around().encode(rewritten.encode())
    return forward(name, received, answer, wrongs)


def forward(name, received, answer, wrongs=()):
    """`wrong` lists checksums that are meant to be wrong in the answer."""
    return {
        "name": name,
        "input": received.hex(),
        "verdict": "forward",
        "reason": None,
        "output": answer.hex(),
        "wrong": list(wrongs),
    }


def drop(name, received, reason):
    return {
        "name": name,
        "input": received.hex(),
        "verdict": "drop",
        "reason": reason,
        "output": None,
        "wrong": [],
    }
