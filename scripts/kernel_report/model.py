"""The pencil model: what a kernel's counts cost on a GPU. docs/kernels.md explains it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# What latency leaves of a pipe's rate, and DRAM of its own.
PIPE_SHARE = 0.7
MEMORY_SHARE = 0.92


@dataclass(frozen=True)
class Gpu:
    name: str
    sms: int
    ghz: float
    tb_per_s: float
    f32_lanes: int = 128

    @property
    def bytes_per_clock(self) -> float:
        """Bytes of memory for each SM and clock."""
        return self.tb_per_s * 1e3 / (self.sms * self.ghz)

    def __str__(self) -> str:
        rates = f"{self.tb_per_s} TB/s = {self.bytes_per_clock:.1f} bytes an SM and clock"
        return f"{self.name}: {self.sms} SMs at {self.ghz} GHz, {rates}"


# By the architecture whose images run there.
GPUS: Mapping[str, Gpu] = {
    "80": Gpu("A100", 108, 1.41, 2.04, 64),
    "90a": Gpu("H100", 132, 1.83, 3.35),
    "100a": Gpu("B200", 148, 1.85, 8.0),
    "120a": Gpu("RTX 5090", 170, 2.41, 1.79),
}

# The pipe of each opcode, first match wins. A packed half operation is one instruction of the f32
# pipe, one on f32x2 is two.
CLASSES = {
    "control": "BRA BRX BRXU JMP JMX EXIT RET CALL BSSY BSYNC BREAK BMOV WARPSYNC NOP COLLECTIVE ENDCOLLECTIVE BAR YIELD DEPBAR"
    " MEMBAR FENCE ERRBAR CCTL BPT NANOSLEEP ACQBULK PREEXIT ELECT LEPC KILL",
    "uniform": r"U[A-Z0-9]+ R2UR S2R S2UR CS2R LDC LDCU LDGDEPBAR VOTE VOTEU",
    "f32x2": "FADD2 FMUL2 FFMA2",
    "f32": "FADD FADD32I FMUL FMUL32I FFMA FFMA32I HADD2 HMUL2 HFMA2 HADD2_32I HFMA2_32I",
    "imad": "IMAD IMAD32I IDP IMUL",
    "conversion": "F2FP I2FP F2IP I2IP",
    "special": "MUFU F2F F2I I2F FRND POPC FLO BREV",
    "shuffle": "SHFL MATCH REDUX CREDUX",
    "shared": "LDS STS LDSM STSM ATOMS",
    "global": "LDG STG LD ST ATOMG ATOM RED REDG LDGSTS",
    "local": "LDL STL",
    "integer": r"IADD\w* VIADD\w* ISETP ISET IMNMX\w* VIMNMX\w* VHMNMX HMNMX2 SEL FSEL FSETP FSET FMNMX\w* FCHK LOP\w*"
    r" PLOP3 SHF SHL SHR PRMT LEA BMSK SGXT MOV\w* P2R R2P HSETP2 HSET2 IABS ICMP FSWZADD VABSDIFF\w* BFE BFI",
}
PATTERNS = {name: re.compile(opcodes.replace(" ", "|")) for name, opcodes in CLASSES.items()}
NAMES = list(CLASSES)


def class_of(opcode: str) -> str:
    """The pipe of an opcode without modifiers; an unknown one is a mistake of this table."""
    for name, pattern in PATTERNS.items():
        if pattern.fullmatch(opcode):
            return name
    raise SystemExit(f"kernel-report: {opcode} has no pipe in scripts/kernel_report/model.py")


def clocks(gpu: Gpu, per_element: Mapping[str, float], conversion_lanes: int) -> dict[str, float]:
    """Clocks of an SM for each element and pipe, at full rates."""
    f32 = per_element["f32"] + 2 * per_element["f32x2"]
    imad = per_element["imad"]
    return {
        "issue": per_element["issue"] / 128,
        "f32": max((f32 + imad) / gpu.f32_lanes, imad / 64),
        "integer": per_element["integer"] / 64,
        "conversion": per_element["conversion"] / conversion_lanes,
        "special": per_element["special"] / 16,
        "shuffle": per_element["shuffle"] / 32,
        "shared": per_element["shared_passes"] / 32,
        "global": per_element["global"] / 32,
    }


@dataclass(frozen=True)
class Prediction:
    share: float  # of the memory floor
    limit: str


def predict(
    gpu: Gpu, per_element: Mapping[str, float], bytes_: float, conversion_lanes: int, after: float = 0.0
) -> Prediction:
    """`after`: bytes an element that a further launch moves, at the memory's pace."""
    floor = bytes_ / gpu.bytes_per_clock
    times = {pipe: time / PIPE_SHARE for pipe, time in clocks(gpu, per_element, conversion_lanes).items()}
    times["memory"] = floor / MEMORY_SHARE
    limit = max(times, key=lambda pipe: times[pipe])
    later = after / gpu.bytes_per_clock / MEMORY_SHARE
    return Prediction(floor / (times[limit] + later), limit)
