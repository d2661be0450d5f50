"""Fragments that an attacker would send: in any order, overlapping, tiny, of two minds about the next
header, and ordinary ones between them, from a seed."""

import struct
from dataclasses import dataclass, replace

from hostile import ACK, MORE, SYN, TEXT, Case, Part, chain, extension, header4, header6, options4, tcp, udp
from packets import checksum

@dataclass
class Piece:
    """Bytes `start` to `end` of a variant of the datagram."""

    variant: bytes
    start: int
    end: int
    more: bool
    protocol: int
    ttl: int = 63
    tos: int = 0


def block(dice, parts, at):
    """Eight bytes whose sum is always the same, so that any mixture of variants has the right checksum."""
    content = bytearray(parts)
    content[at : at + 2] = b"\0\0"
    content[at : at + 2] = struct.pack("!H", checksum(bytes(content)))
    return bytes(content)


def variant_data(dice, blocks, tail):
    """Data in blocks, with the text at some place, maybe over the border of two."""
    parts = [dice.choice((b"a", b"b", b"z")) * 8 for _ in range(blocks)]
    places = [6] * blocks
    if dice.random() < 0.7:
        index = dice.randrange(blocks)
        if index + 1 < blocks and dice.random() < 0.5:
            parts[index], places[index] = b"ccxxx" + TEXT[:3], 0
            parts[index + 1] = TEXT[3:] + b"xxxcc"
        else:
            parts[index] = TEXT + b"cc"
    return b"".join(block(dice, *each) for each in zip(parts, places, strict=True)) + tail


def variants(dice, case, protocol, blocks):
    """Datagrams of one length that differ in what rules look at."""
    tail = b"tail-up"[: dice.choice((0, 0, 0, 1, 4, 7))]
    length = dice.choice((None,) * 8 + (0, 12, 8))
    sum_field = 0 if case.version == 4 and dice.random() < 0.5 else None
    if protocol == 17 and length is not None:
        case.what.append(f"UDP length {length}")
    made = []
    for _ in range(dice.randint(1, 3)):
        dport = dice.choice((3000, 4000, 4000, 4001))
        data = variant_data(dice, blocks, tail)
        if protocol == 17:
            # Of several, one may say another length.
            given = length if dice.random() < 0.7 else None
            made.append(udp(case, 40000, dport, data, given, sum_field))
        elif protocol == 6:
            flags = dice.choice((SYN, ACK, ACK, 0x18, SYN | 1, SYN | 4))
            made.append(tcp(case, 40000, dport, flags, b"pads" + data))
        else:
            made.append(data)
    return made


def cuts(dice, length, first=None):
    """Offsets that cut a datagram into two to five pieces."""
    inner = range(8, length, 8)
    chosen = set(dice.sample(inner, min(len(inner), dice.randint(1, 4))))
    if first is not None:
        chosen = {at for at in chosen if at > first} | {first}
    return [0, *sorted(chosen), length]


def plain(dice, made, protocol, first=None):
    """Pieces that fit, most of one variant."""
    edges = cuts(dice, len(made[0]), first)
    one = dice.choice(made)
    pieces = []
    for start, end in zip(edges, edges[1:], strict=False):
        variant = one if dice.random() < 0.7 else dice.choice(made)
        pieces.append(Piece(variant, start, end, end < len(one), protocol))
    return pieces


def two_firsts(dice, made, protocol):
    """Fragments that fit, and another first one, longer or shorter."""
    pieces = plain(dice, made, protocol)
    variant = dice.choice(made)
    other = Piece(variant, 0, dice.randrange(8, len(variant), 8), True, protocol)
    if dice.random() < 0.5:
        other.ttl = 1
    elif dice.random() < 0.5:
        pieces[0].ttl = 1
    pieces.insert(dice.choice((0, 0, 1, len(pieces))), other)
    return pieces


def overlapping(dice, made, protocol):
    """Anything over anything."""
    pieces = plain(dice, made, protocol)
    for _ in range(dice.randint(1, 3)):
        variant = dice.choice(made)
        start = dice.randrange(0, len(variant), 8)
        end = min(len(variant), start + 8 * dice.randint(1, 5))
        if start == 0 and end == len(variant):
            end -= (end - 1) % 8 + 1  # offset 0 and no more to come would be a whole packet
        piece = Piece(variant, start, end, end < len(variant), protocol)
        piece.ttl = dice.choice((63, 63, 1))
        pieces.insert(dice.randint(0, len(pieces)), piece)
    return pieces


def tiny(dice, made, protocol):
    """The first fragment ends within the transport header or right behind it."""
    return plain(dice, made, protocol, dice.choice([at for at in (8, 8, 16, 24) if at < len(made[0])]))


def edges(dice, made, protocol):
    """Fragments without data, beyond the end, or of a length that no fragment may have."""
    pieces = plain(dice, made, protocol)
    odd = dice.choice(pieces)
    fault = dice.choice(("empty", "beyond", "odd length", "last twice"))
    if fault == "empty":
        pieces.append(Piece(odd.variant, odd.start, odd.start, True, protocol))
    elif fault == "beyond":
        pieces.insert(0, Piece(bytes(65528) + b"x" * 40, 65528, 65560, False, protocol))
    elif fault == "odd length":
        odd.end = min(odd.end + dice.randint(1, 7), len(odd.variant))
    else:
        # A first one that is the last is a whole packet.
        pieces.append(Piece(odd.variant, odd.start, odd.end, odd.start == 0, protocol))
    return pieces


def alone(dice, made, protocol):
    """One piece and no other: what remembers fragments must not forget the rest for these."""
    return [dice.choice(plain(dice, made, protocol))]


SHAPES = {plain: 24, two_firsts: 24, overlapping: 14, tiny: 8, edges: 6, alone: 24}


def mixed(dice, case, pieces, protocol):
    """The pieces in some order, with what else may be strange about one of them."""
    if dice.random() < 0.4:
        dice.shuffle(pieces)
        case.what.append("shuffled")
    elif dice.random() < 0.15:
        pieces.reverse()
        case.what.append("reversed")
    if dice.random() < 0.2:
        pieces.insert(dice.randint(0, len(pieces)), dice.choice(pieces))
        case.what.append("one twice")
    for share, what, change in (
        (0.25, "another protocol", {"protocol": dice.choice((6, 17, 253, 60, 59, 44, 0))}),
        (0.08, "TTL 7", {"ttl": 7}),
        (0.08, "DSCP 46", {"tos": 46 << 2}),
    ):
        if dice.random() < share:
            index = dice.randrange(len(pieces))
            pieces[index] = replace(pieces[index], **change)
            case.what.append(f"{what} {change} in {index}")
    return pieces


def fragmented(dice, number):
    """The fragments of one packet."""
    case = Case(number, dice.choice((4, 6)), is_fragmented=True)
    protocol = dice.choices((17, 6, 253), (75, 17, 8))[0]
    shape = dice.choices(list(SHAPES), list(SHAPES.values()))[0]
    case.what.append(shape.__name__)
    made = variants(dice, case, protocol, dice.randint(3, 10))
    pieces = shape(dice, made, protocol)
    if case.version == 4:
        fragments4(dice, case, mixed(dice, case, pieces, protocol), protocol)
    else:
        fragments6(dice, case, pieces, protocol)
    return case


def part(piece, protocol, before=0):
    """`before`: bytes of extension headers before the transport header."""
    shown = 0
    if piece.start == 0:
        shown = piece.end // 8 * 8 - before
        length = int.from_bytes(piece.variant[before + 4 : before + 6], "big")
        if protocol == 17 and length >= 8:
            shown = min(shown, length)
    return Part(protocol, shown, piece.start, piece.end, piece.more, piece.ttl > 1)


def fragments4(dice, case, pieces, protocol):
    ident = dice.randrange(65536)
    extra = 0x8000 if dice.random() < 0.05 else 0x4000 if dice.random() < 0.05 else 0
    strange = dice.random() < 0.15
    for piece in pieces:
        options = options4(dice) if strange and dice.random() < 0.5 else b""
        if options:
            case.what.append(f"options {options.hex()}")
        field_ = extra | (MORE if piece.more else 0) | piece.start // 8
        body = piece.variant[piece.start : piece.end]
        packet = header4(case, piece.protocol, body, piece.ttl, piece.tos, ident, field_, options)
        case.add(packet + (TEXT if strange else b""), part(piece, piece.protocol))


def fragments6(dice, case, pieces, protocol):
    ident = dice.getrandbits(32)
    before = [extension(dice, dice.choice((0, 60, 43)))] if dice.random() < 0.15 else []
    inside, fault = [], dice.random()
    if fault < 0.15:
        inside = [extension(dice, dice.choice((60, 60, 43)))]
    elif fault < 0.22:
        inside = [(44, struct.pack("!BHI", 0, dice.choice((0, 1)), ident ^ dice.choice((0, 1))))]
    elif fault < 0.27:
        before += [(44, struct.pack("!BHI", 0, dice.choice((0, 1)), ident ^ dice.choice((0, 1))))]
    case.what.append(f"before {[kind for kind, _ in before]}, inside {[kind for kind, _ in inside]}")
    first, size = protocol, 0
    if inside:
        # The headers in the part that is cut move all edges behind the first.
        first, head = chain(inside, protocol, b"")
        size = len(head)
        for piece in pieces:
            piece.variant = head + piece.variant
            piece.start += size if piece.start else 0
            piece.end += size
            piece.protocol = first if piece.start == 0 or dice.random() < 0.8 else piece.protocol
    for piece in mixed(dice, case, pieces, protocol):
        field_ = piece.start & 0xFFF8 | piece.more
        rest = struct.pack("!BHI", 0, field_, ident)
        kind, body = chain([*before, (44, rest)], piece.protocol, piece.variant[piece.start : piece.end])
        meant = protocol if piece.protocol == first else piece.protocol
        case.add(header6(case, kind, body, piece.ttl, piece.tos), part(piece, meant, size))
