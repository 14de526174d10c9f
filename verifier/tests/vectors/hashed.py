"""Digests of hashed tensors by another implementation: python3 hashed.py > hashed.txt

Poseidon over BN254's scalar field (eprint 2019/458) with the constants of the reference implementation's Grain LFSR.
Its published answers for 3 and 5 elements are asserted first. Each line: role dtype position values... digest.
"""

R = 21888242871839275222246405745257275088548364400416034343698204186575808495617


def grain(width, partial):
    state = [int(b) for n, v in [(2, 1), (4, 0), (12, 254), (12, width), (10, 8), (10, partial), (30, 2**30 - 1)] for b in f"{v:0{n}b}"]

    def clock():
        bit = state[62] ^ state[51] ^ state[38] ^ state[23] ^ state[13] ^ state[0]
        state.append(bit)
        del state[0]
        return bit

    for _ in range(160):
        clock()
    while True:
        first, second = clock(), clock()
        if first:
            yield second


def parameters(width, partial):
    bits = grain(width, partial)

    def number():
        return int("".join(str(next(bits)) for _ in range(254)), 2)

    constants = []
    while len(constants) < (8 + partial) * width:
        value = number()
        if value < R:
            constants.append(value)
    while True:
        points = [number() % R for _ in range(2 * width)]
        x, y = points[:width], points[width:]
        if len(set(points)) == 2 * width and all((a + b) % R for a in x for b in y):
            return constants, [[pow(a + b, -1, R) for b in y] for a in x]


def permute(state, partial, constants, matrix):
    width = len(state)
    for r in range(8 + partial):
        state = [s + c for s, c in zip(state, constants[r * width :])]
        full = r < 4 or r >= 4 + partial
        state = [pow(s, 5, R) if full or i == 0 else s for i, s in enumerate(state)]
        state = [sum(m * s for m, s in zip(row, state)) % R for row in matrix]
    return state


P3, P5 = parameters(3, 57), parameters(5, 60)
assert permute([0, 1, 2], 57, *P3)[0] == 0x115CC0F5E7D690413DF64C6B9662E9CF2A3617F2743245519E19607A4417189A
assert permute([0, 1, 2, 3, 4], 60, *P5)[0] == 0x299C867DB6C1FDD79DCEFA40E4510B9837E60EBB1CE0663DBAA525DF65250465

BYTES = {"bool": (1, 1, 0), "int8": (2, 1, -128), "uint8": (3, 1, 0), "int16": (4, 2, -(2**15)), "int32": (5, 4, -(2**31))}


def digest(role, dtype, position, values):
    number, size, least = BYTES[dtype]
    data = b"".join((v - least).to_bytes(size, "big") for v in values)
    tag = b"zkinfer/hashed/v1" + bytes([{"input": 1, "output": 2}[role], number]) + position.to_bytes(4, "big") + len(data).to_bytes(8, "big")
    step = 31 - 31 % size
    words = [int.from_bytes(data[i : i + step].ljust(31, b"\0"), "big") for i in range(0, len(data), step)]
    state = [int.from_bytes(tag, "big"), 0, 0, 0, 0]
    for i in range(0, len(words), 4):
        block = words[i : i + 4]
        state = [state[0]] + [s + w for s, w in zip(state[1:], block + [0] * (4 - len(block)))]
        state = permute(state, 60, *P5)
    return state[1]


for role, dtype, position, values in [
    ("input", "bool", 0, [1]),
    ("input", "int8", 0, [-128, 0, 127]),
    ("output", "int8", 0, [-128, 0, 127]),
    ("input", "int8", 1, [-128, 0, 127]),
    ("input", "int8", 0, [-128, 0, 127, -128]),
    ("input", "uint8", 0, [0, 128, 255]),
    ("output", "int16", 7, [-(2**15) + 37 * i for i in range(40)]),
    ("output", "int32", 3, [2**31 - 1 - 123457 * i for i in range(30)]),
    ("input", "int8", 2, [(7 * i) % 256 - 128 for i in range(124)]),
    ("input", "int8", 2, [(7 * i) % 256 - 128 for i in range(125)]),
]:
    print(role, dtype, position, *values, hex(digest(role, dtype, position, values)))
