"""A model's file from its recipe: weights are cut from a pool of numbers that every machine makes alike.

The recipe is that of `search_spaces/_recipe.py`, and not trusted. With numpy (1.17 or newer) it takes milliseconds,
with the standard library alone longer; the bytes are the same. The pool is made once a seed and kept as a file.
"""

import hashlib
import json
import math
import os
import sys
import zlib
from array import array
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Optional, Tuple

FORMAT = 1
POOL_VERSION = 1
POOL_NUMBERS = (1 << 20) + (1 << 17)
MAX_RESULT_BYTES = 2 * 1024 * 1024 * 1024
MAX_RECIPE_BYTES = 64 * 1024 * 1024
_MAX_SEED = 2**64 - 1
_MAX_FLOAT32 = float(2**128 - 2**104)
#: Factors so few and small that no product of them leaves float32.
_MAX_FACTORS = 4
_MAX_FACTOR = 1e6
#: Fixed-point numbers of so many bits are exact in float32.
_MAX_BITS = 24
#: Pieces that are cut from the pool.
_FROM_POOL = ("pool", "fixed")
#: Pools of other seeds that are kept.
_MAX_POOLS = 4
_DIGEST_BYTES = 32


class RecipeError(Exception):
    """A recipe that is none, or whose result is not what it promises."""


def assemble(recipe: bytes, pool_folder: str) -> bytes:
    """Return the file of a recipe.

    Pools are kept in `pool_folder`. Raises RecipeError for a bad recipe and OSError where no pool can be written.
    """
    if sys.byteorder != "little":
        raise RecipeError("recipes need a little-endian machine")
    head, copied = _unpacked(recipe)
    size, pieces = _checked(head, len(copied))
    pool = b""
    if any(piece[0] in _FROM_POOL for piece in pieces):
        pool = load_pool(head["pool"]["seed"], pool_folder)
    data = b"".join(_parts(pieces, copied, pool))
    if len(data) != size or sha256(data) != head["sha256"]:
        raise RecipeError("the result has the hash %s, not %s" % (sha256(data)[:12], str(head["sha256"])[:12]))
    return data


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def load_pool(seed: int, folder: str) -> bytes:
    """Return the pool of a seed as little-endian float32, from its file or made anew; raise OSError without room."""
    path = os.path.join(folder, "pool-%d-%d.f32" % (seed, POOL_VERSION))
    try:
        status = os.stat(path)
        return _read_pool(path, status.st_mtime, status.st_size)
    except (OSError, ValueError):
        pass  # missing or damaged: made anew
    pool = make_pool(seed)
    os.makedirs(folder, exist_ok=True)
    part = "%s.%d.part" % (path, os.getpid())
    try:
        with open(part, "wb") as file:
            file.write(pool + hashlib.sha256(pool).digest())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
    _drop_old_pools(folder)
    return pool


def make_pool(seed: int) -> bytes:
    """Return nearly normal numbers: sums of eight 16-bit integers, centred and scaled to standard deviation 1."""
    scale = array("f", [1.0 / math.sqrt(8 * (2**32 - 1) / 12)])[0]
    numpy = _numpy()
    if numpy is not None:
        raw = numpy.random.PCG64(seed).random_raw(2 * POOL_NUMBERS).astype("<u8", copy=False)
        sums = raw.view("<u2").reshape(8, POOL_NUMBERS).sum(axis=0, dtype=numpy.int32) - 4 * 0xFFFF
        found: bytes = (sums.astype(numpy.float32) * numpy.float32(scale)).tobytes()
        return found
    words = memoryview(array("Q", raw_numbers(seed, 2 * POOL_NUMBERS))).cast("B").cast("H")
    rows = [words[i * POOL_NUMBERS : (i + 1) * POOL_NUMBERS] for i in range(8)]
    return array("f", ((sum(items) - 4 * 0xFFFF) * scale for items in zip(*rows))).tobytes()  # noqa: B905


def raw_numbers(seed: int, n: int) -> Iterator[int]:
    """Give the first n numbers of 64 bits of `numpy.random.PCG64(seed)`."""
    words = _seed_words(seed)
    increment = (words[2] << 64 | words[3]) << 1 & _MASK_128 | 1
    state = (increment + (words[0] << 64 | words[1])) * _MULTIPLIER + increment & _MASK_128
    for _ in range(n):
        state = state * _MULTIPLIER + increment & _MASK_128
        mixed = (state >> 64 ^ state) & _MASK_64
        turn = state >> 122
        yield (mixed >> turn | mixed << (64 - turn)) & _MASK_64


def _seed_words(seed: int) -> List[int]:
    """Return the four words of 64 bits that `numpy.random.SeedSequence(seed)` gives a generator."""
    constant = 0x43B0D7E5

    def hashed(value: int) -> int:
        nonlocal constant
        value ^= constant
        constant = constant * 0x931E8875 & _MASK_32
        value = value * constant & _MASK_32
        return value ^ value >> 16

    mixed = [hashed(seed >> shift & _MASK_32) for shift in (0, 32, 64, 96)]
    for source in range(4):
        for target in range(4):
            if source != target:
                value = mixed[target] * 0xCA01F9DD - hashed(mixed[source]) * 0x4973F715 & _MASK_32
                mixed[target] = value ^ value >> 16
    constant, found = 0x8B51F9DD, []
    for i in range(8):
        value = mixed[i % 4] ^ constant
        constant = constant * 0x58F38DED & _MASK_32
        value = value * constant & _MASK_32
        found.append(value ^ value >> 16)
    return [found[i] | found[i + 1] << 32 for i in range(0, 8, 2)]


def _unpacked(recipe: bytes) -> Tuple[Dict[str, Any], memoryview]:
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(recipe, MAX_RECIPE_BYTES)
        if not stream.eof or stream.unused_data:
            raise RecipeError("the recipe is cut off, too large, or has something behind it")
        line, separator, _ = data.partition(b"\n")
        head = json.loads(line.decode("utf-8"), parse_int=_integer, parse_constant=_integer)
    except (zlib.error, ValueError, RecursionError) as error:
        raise RecipeError("not a recipe: %s" % str(error)[:200]) from None
    if not separator or not isinstance(head, dict):
        raise RecipeError("not a recipe: its head is missing")
    return head, memoryview(data)[len(line) + 1 :]


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number of too many digits")
    return int(text)


def _checked(head: Dict[str, Any], copied_bytes: int) -> Tuple[int, List[Any]]:
    """Return size and pieces after comparing everything with its bounds; raise RecipeError."""
    pool, size, pieces = head.get("pool"), head.get("size"), head.get("pieces")
    if not _within(head.get("format"), FORMAT, FORMAT):
        raise RecipeError("the recipe has format %s, not %d" % (str(head.get("format"))[:20], FORMAT))
    if not isinstance(pool, dict) or not _within(pool.get("version"), POOL_VERSION, POOL_VERSION):
        raise RecipeError("the recipe needs another pool of numbers")
    if not _within(pool.get("seed"), 0, _MAX_SEED):
        raise RecipeError("the recipe needs another pool of numbers: no seed from 0 to 2**64 - 1")
    if not _within(size, 0, MAX_RESULT_BYTES) or not isinstance(head.get("sha256"), str):
        raise RecipeError("the recipe does not say what it makes, or more than %d bytes" % MAX_RESULT_BYTES)
    if not isinstance(pieces, list):
        raise RecipeError("the recipe has no pieces")
    if sum(_piece_bytes(piece) for piece in pieces) != size:
        raise RecipeError("the pieces of the recipe do not add up to its size")
    if sum(piece[1] for piece in pieces if piece[0] == "copy") != copied_bytes:
        raise RecipeError("the recipe has more or fewer bytes to copy than it says")
    assert isinstance(size, int)
    return size, pieces


def _piece_bytes(piece: Any) -> int:
    """Return the size of a piece; raise RecipeError for what is none."""
    if isinstance(piece, list) and piece:
        kind, values = piece[0], piece[1:]
        if kind == "copy" and len(values) == 1 and _within(values[0], 0, MAX_RECIPE_BYTES):
            return int(values[0])
        if kind == "fill" and len(values) == 2 and _is_float(values[0], _MAX_FLOAT32) and _is_count(values[1]):
            return int(values[1]) * 4
        if kind == "pool" and len(values) == 3 and _is_cut(values):
            return int(values[1]) * 4
        if kind == "fixed" and len(values) == 5 and _is_cut(values) and _is_format(values[3], values[4]):
            return int(values[1]) * 4
    raise RecipeError("not a piece of a recipe: %s" % str(piece)[:80])


def _is_cut(values: List[Any]) -> bool:
    """Return whether values begin with start, number and factors of a cut from the pool."""
    if not _within(values[0], 0, POOL_NUMBERS - 1) or not _is_count(values[1]):
        return False
    factors = values[2]
    return (
        isinstance(factors, list)
        and len(factors) <= _MAX_FACTORS
        and all(_is_float(factor, _MAX_FACTOR) for factor in factors)
    )


def _is_format(integer_bits: Any, fraction_bits: Any) -> bool:
    return _within(integer_bits, 1, _MAX_BITS) and _within(fraction_bits, 0, _MAX_BITS - integer_bits)


def _is_count(value: Any) -> bool:
    return _within(value, 0, MAX_RESULT_BYTES // 4)


def _within(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_float(value: Any, limit: float) -> bool:
    """Return whether a number is a float32 within a limit."""
    return type(value) is float and abs(value) <= limit and array("f", [value])[0] == value


def _parts(pieces: List[Any], copied: memoryview, pool: bytes) -> Iterator[Any]:
    numpy = _numpy()
    for piece in pieces:
        if piece[0] == "copy":
            yield copied[: piece[1]]
            copied = copied[piece[1] :]
        elif piece[0] == "fill":
            yield array("f", [piece[1]]).tobytes() * piece[2]
        else:
            values = _scaled(_cut(pool, piece[1], piece[2]), piece[3], numpy)
            yield _rounded(values, piece[4], piece[5], numpy) if piece[0] == "fixed" else values


def _cut(pool: bytes, start: int, n: int) -> bytes:
    """Return n numbers from `start` on; what is longer than the rest of the pool repeats it."""
    found = pool[4 * start : 4 * (start + n)]
    if len(found) == 4 * n:
        return found
    return (found * (4 * n // len(found) + 1))[: 4 * n]


def _scaled(values: bytes, factors: List[float], numpy: Any) -> bytes:
    """Return float32 numbers times each factor, rounded each time: a product of two is exact in a double."""
    if numpy is not None:
        scaled = numpy.frombuffer(values, "<f4")
        for factor in factors:
            scaled = scaled * numpy.float32(factor)
        found: bytes = scaled.tobytes()
        return found
    numbers = array("f", values)
    for factor in factors:
        numbers = array("f", [number * factor for number in numbers])
    return numbers.tobytes()


def _rounded(values: bytes, integer_bits: int, fraction_bits: int, numpy: Any) -> bytes:
    """Return float32 numbers rounded to fixed point, half to even, clamped to its range, without a negative zero.

    All steps are exact: the numbers are scaled by powers of two.
    """
    scale, limit = float(2**fraction_bits), float(2 ** (integer_bits - 1))
    highest = limit - 1.0 / scale
    if numpy is not None:
        clamped = numpy.clip(numpy.frombuffer(values, "<f4"), numpy.float32(-limit), numpy.float32(highest))
        steps = numpy.round(clamped * numpy.float32(scale))
        found: bytes = (steps * numpy.float32(1.0 / scale) + numpy.float32(0.0)).tobytes()
        return found
    numbers = array("f", values)
    return array("f", [round(min(max(number, -limit), highest) * scale) / scale for number in numbers]).tobytes()


@lru_cache(maxsize=2)
def _read_pool(path: str, changed: float, size: int) -> bytes:
    """Return the numbers of a pool's file, kept in memory while it does not change; raise ValueError for damage."""
    with open(path, "rb") as file:
        data = file.read(4 * POOL_NUMBERS + _DIGEST_BYTES + 1)
    pool, digest = data[: 4 * POOL_NUMBERS], data[4 * POOL_NUMBERS :]
    if len(data) != size or hashlib.sha256(pool).digest() != digest:
        raise ValueError("a damaged pool")
    return pool


def _drop_old_pools(folder: str) -> None:
    try:
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".f32")]
        for path in sorted(paths, key=os.path.getmtime, reverse=True)[_MAX_POOLS:]:
            os.remove(path)
    except FileNotFoundError:
        pass  # another process does the same


def _numpy() -> Optional[Any]:
    """Return numpy where it is there and has the generator, else None."""
    try:
        import numpy
    except (ImportError, OSError, RuntimeError):
        return None
    return numpy if hasattr(getattr(numpy.random, "PCG64", None), "random_raw") else None


_MASK_32 = 2**32 - 1
_MASK_64 = 2**64 - 1
_MASK_128 = 2**128 - 1
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
