"""Vector code from plain Python expressions: one parameter set per SIMD lane.

Compilers seldom vectorise a loop over parameter sets with thousands of state variables inside.
Here the code is vector code from the start: Python functions compute with :class:`Lanes`, which
look like numbers and record LLVM instructions on whole vectors; LLVM (through llvmlite, which
numba brings along) turns them into machine code for the CPU at hand in about a second, with no
compiler to install; it is kept (:mod:`bids_brnn.signals.kept_code`). Without AVX-512 LLVM splits
the vectors.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Union

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

Operand = Union["Lanes", float]

_INDEX = ir.IntType(64)
_POINTER = ir.PointerType()
_FLUSH_DENORMALS = 0x8040  # MXCSR: flush to zero, denormals are zero


class Lanes:
    """A vector value; arithmetic with other vectors and with numbers records instructions."""

    __slots__ = ("code", "value")

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def _binary(self, name: str, left: Operand, right: Operand) -> Lanes:
        code = self.code
        operation = getattr(code.builder, name)
        # "contract" lets the compiler fuse a product and a sum, as a person would write fma().
        return Lanes(
            code, operation(code.lift(left).value, code.lift(right).value, flags=("contract",))
        )

    # A plain 0.0 stands for "nothing there" and records no instruction.

    def __add__(self, other: Operand) -> Operand:
        return self if _is_zero(other) else self._binary("fadd", self, other)

    def __radd__(self, other: Operand) -> Operand:
        return self if _is_zero(other) else self._binary("fadd", other, self)

    def __sub__(self, other: Operand) -> Operand:
        return self if _is_zero(other) else self._binary("fsub", self, other)

    def __rsub__(self, other: Operand) -> Operand:
        return -self if _is_zero(other) else self._binary("fsub", other, self)

    def __mul__(self, other: Operand) -> Operand:
        return 0.0 if _is_zero(other) else self._binary("fmul", self, other)

    def __rmul__(self, other: Operand) -> Operand:
        return 0.0 if _is_zero(other) else self._binary("fmul", other, self)

    def __rtruediv__(self, other: Operand) -> Operand:
        return 0.0 if _is_zero(other) else self._binary("fdiv", other, self)

    def __neg__(self) -> Lanes:
        return Lanes(self.code, self.code.builder.fneg(self.value))


def _is_zero(value: Operand) -> bool:
    return isinstance(value, float) and value == 0.0


@dataclass(frozen=True)
class Array:
    """Memory of vectors, of scalars that are spread over all lanes, or of 64 bit integers."""

    code: Code
    pointer: ir.Value
    kind: str

    def _address(self, index: ir.Value | int) -> ir.Value:
        types = {"vector": self.code.vector, "scalar": self.code.scalar, "index": _INDEX}
        return self.code.builder.gep(
            self.pointer, [self.code.index(index)], source_etype=types[self.kind]
        )

    def offset(self, index: ir.Value | int) -> Array:
        """The same memory from element ``index`` on."""
        return Array(self.code, self._address(index), self.kind)

    def __getitem__(self, index: ir.Value | int) -> Any:
        code, address = self.code, self._address(index)
        if self.kind == "vector":
            align = code.bytes_per_vector
            return Lanes(code, code.builder.load(address, typ=code.vector, align=align))
        if self.kind == "scalar":
            return code.spread(code.builder.load(address, typ=code.scalar))
        return code.builder.load(address, typ=_INDEX)

    def __setitem__(self, index: ir.Value | int, value: Operand) -> None:
        vector = self.code.lift(value).value
        self.code.builder.store(vector, self._address(index), align=self.code.bytes_per_vector)


class Code:
    """One LLVM module under construction.

    Parameters
    ----------
    dtype
        ``float32`` or ``float64``, of every vector.
    lanes
        Parameter sets per vector.
    """

    def __init__(self, dtype: np.dtype[Any], lanes: int) -> None:
        self.lanes = lanes
        self.scalar = ir.FloatType() if dtype == np.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, lanes)
        self.bytes_per_vector = lanes * dtype.itemsize
        self.module = ir.Module(name="gbloch")
        self.module.triple = llvm.get_process_triple()
        self.builder: Any = None

    def function(
        self, name: str, arguments: Sequence[str], body: Callable[..., None], *, export: bool
    ) -> ir.Function:
        """Define a function; ``arguments`` are kinds of :class:`Array`, or ``value`` (integer)."""
        types = [_INDEX if kind == "value" else _POINTER for kind in arguments]
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        if not export:
            function.linkage = "internal"
            function.attributes.add("noinline")
        for argument, kind in zip(function.args, arguments, strict=True):
            if kind != "value":
                argument.add_attribute("noalias")
        outer, self.builder = self.builder, ir.IRBuilder(function.append_basic_block("entry"))
        body(
            *(
                argument if kind == "value" else Array(self, argument, kind)
                for argument, kind in zip(function.args, arguments, strict=True)
            )
        )
        self.builder.ret_void()
        self.builder = outer
        return function

    def call(self, function: ir.Function, *arguments: Array | ir.Value | int) -> None:
        """Call a function of this module."""
        self.builder.call(
            function,
            [a.pointer if isinstance(a, Array) else self.index(a) for a in arguments],
        )

    def index(self, value: ir.Value | int) -> ir.Value:
        """A 64 bit integer."""
        return ir.Constant(_INDEX, value) if isinstance(value, int) else value

    def lift(self, value: Operand) -> Lanes:
        """Numbers become vectors."""
        if isinstance(value, Lanes):
            return value
        return Lanes(self, ir.Constant(self.vector, [float(value)] * self.lanes))

    def spread(self, scalar: ir.Value) -> Lanes:
        """One scalar in all lanes."""
        builder, undefined = self.builder, ir.Constant(self.vector, ir.Undefined)
        first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)  # zeros
        return Lanes(self, builder.shuffle_vector(first, undefined, mask))

    @contextmanager
    def loop(self, count: ir.Value | int) -> Iterator[ir.Value]:
        """``for i in range(count)``; everything but ``i`` is carried in memory. ``count >= 1``."""
        builder = self.builder
        before = builder.block
        body = builder.append_basic_block("loop")
        builder.branch(body)
        builder.position_at_end(body)
        counter = builder.phi(_INDEX)
        counter.add_incoming(self.index(0), before)
        yield counter
        following = builder.add(counter, self.index(1))
        counter.add_incoming(following, builder.block)
        more = builder.icmp_unsigned("<", following, self.index(count))
        after = builder.append_basic_block("after")
        builder.cbranch(more, body, after)
        builder.position_at_end(after)

    def equal(self, left: ir.Value, right: int) -> ir.Value:
        """Condition for ``builder.if_then`` and ``builder.if_else``."""
        return self.builder.icmp_signed("==", left, self.index(right))

    @contextmanager
    def flushed_denormals(self) -> Iterator[None]:
        """Flush denormals inside, where the CPU would be slow otherwise (x86), and restore."""
        if not self.module.triple.startswith("x86_64"):
            yield
            return
        builder, word = self.builder, ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_POINTER])
        save = ir.Function(self.module, kind, "llvm.x86.sse.stmxcsr")
        load = ir.Function(self.module, kind, "llvm.x86.sse.ldmxcsr")
        old, new = builder.alloca(word), builder.alloca(word)
        builder.call(save, [old])
        flags = builder.or_(builder.load(old, typ=word), ir.Constant(word, _FLUSH_DENORMALS))
        builder.store(flags, new)
        builder.call(load, [new])
        yield
        builder.call(load, [old])

    def compile(self) -> bytes:
        """Machine code of this module, as the content of an object file."""
        machine = _machine()
        module = llvm.parse_assembly(str(self.module))
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=1)
        # The code is vector code already; these passes would only cost time.
        options.loop_vectorization = options.slp_vectorization = False
        options.loop_unrolling = False
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        found: bytes = machine.emit_object(module)
        return found


def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        jit=True,
    )


def target() -> str:
    """The processor and the compiler that machine code is of."""
    features = llvm.get_host_cpu_features().flatten()
    version = ".".join(map(str, llvm.llvm_version_info))
    return f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {features} LLVM {version}"


@dataclass(frozen=True)
class Program:
    """A compiled function; the engine owns the machine code."""

    engine: Any
    function: Callable[..., None]

    @classmethod
    def of(cls, machine_code: bytes, name: str, n_arguments: int) -> Program:
        """The exported function ``name`` of :meth:`Code.compile`."""
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * n_arguments)
        return cls(engine, kind(engine.get_function_address(name)))

    def __call__(self, *arguments: int | np.ndarray[Any, Any]) -> None:
        """Call with integers and C-contiguous arrays; the GIL is released meanwhile."""
        self.function(*(a.ctypes.data if isinstance(a, np.ndarray) else int(a) for a in arguments))


@cache
def native_lanes(dtype: np.dtype[Any]) -> int:
    """Lanes of an AVX-512 register, or of an AVX register where the CPU has no wider ones."""
    wide = bool(llvm.get_host_cpu_features().get("avx512f"))
    return (64 if wide else 32) // dtype.itemsize


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any], fill: float | None = None) -> Any:
    """An array that starts at a multiple of 64 bytes, as vector loads need."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + size].view(dtype).reshape(shape)
    if fill is not None:
        array[...] = fill
    return array
