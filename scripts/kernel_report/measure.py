"""Runs every case on the emulator for each architecture, and reads the machine code beside it."""

import dataclasses
import json
import math
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import model
import sass

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
FOLDER = TARGET / "kernel-report"
ARCHITECTURES = {"80": "8.0", "90a": "9.0", "100a": "10.0", "103a": "10.3", "120a": "12.0"}
CASES_TEST = ["cargo", "test", "--quiet", "--features", "cli,cuda", "--test", "kernel_cases"]
# How far the fitted counts of loads and stores may be from those of the emulator.
FIT_TOLERANCE = 0.05


@dataclass(frozen=True)
class Row:
    """One case on one architecture; counts are for each element, of warps times 32."""

    case: str
    architecture: str
    entry: str
    exempt: str | None
    registers: int
    shared_bytes: int
    spill_bytes: int
    ptx: float
    sass_small: float  # as executed
    sass: float  # of a large tensor
    in_loop: float  # the part of both inside loops
    fitted: bool  # the fitted loads and stores are those that the emulator counted
    classes: dict[str, float]
    bytes: float
    sectors: dict[str, float]  # a request, for loads and stores
    ideal_sectors: dict[str, float]
    sector_ratio: float  # all sectors against the fewest that hold the bytes
    bank_conflicts: int
    local_requests: int
    predicted: dict[str, model.Prediction]  # by lanes of the conversion unit


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        result = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    except OSError as error:
        raise SystemExit(f"kernel-report: {' '.join(command)}: {error}") from error
    if result.returncode:
        raise SystemExit(f"kernel-report: {' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result


def printed(command: list[str]) -> str:
    return run(command).stdout.strip()


def launch(architectures: list[str]) -> None:
    """Builds, and runs every case on each architecture."""
    cuda = printed(["scripts/nvcc"])
    build = {"CUDA_HOME": cuda, "NVCC": f"{cuda}/bin/nvcc", "BLOCKSCALE_REQUIRE_NVCC": "1"}
    run(["cargo", "build", "--quiet", "--package", "blockscale-emulator"], **build)
    run([*CASES_TEST, "--no-run"], **build)
    driver = FOLDER / "driver"
    driver.mkdir(parents=True, exist_ok=True)
    library = driver / "libcuda.so.1"
    library.unlink(missing_ok=True)
    library.symlink_to(TARGET / "debug" / "libblockscale_emulator.so")
    path = os.environ.get("LD_LIBRARY_PATH")
    for architecture in architectures:
        for kind, setting in (("small", {"PROFILE": "1"}), ("large", {"DRY": "1"})):
            log = FOLDER / f"{architecture}.{kind}.log"
            log.unlink(missing_ok=True)
            emulator = {"CC": ARCHITECTURES[architecture], "LOG": str(log), **setting}
            run(
                CASES_TEST,
                **build,
                **{f"BLOCKSCALE_EMULATOR_{name}": value for name, value in emulator.items()},
                LD_LIBRARY_PATH=f"{driver}:{path}" if path else str(driver),
                BLOCKSCALE_KERNEL_CASES=str(FOLDER),
            )


def measured(architectures: list[str]) -> Iterator[Row]:
    """The rows of what `launch` left."""
    for architecture in architectures:
        for small, large in zip(launched(architecture, "small"), launched(architecture, "large"), strict=True):
            yield row_of(architecture, small, large)


@dataclass(frozen=True)
class Launched:
    """A case, and the launch that does its work."""

    case: dict[str, Any]
    entry: str
    threads: int
    counters: dict[str, int]
    lines: tuple[tuple[int, int], ...]
    after: int  # bytes that the case's other launches move

    @property
    def name(self) -> str:
        parts = (self.case[part] for part in ("verb", "format", "dtype", "rounding"))
        return " ".join(part for part in parts if part != "-")


def launched(architecture: str, kind: str) -> Iterator[Launched]:
    log = (FOLDER / f"{architecture}.{kind}.log").read_text().splitlines()
    for line in (FOLDER / f"{architecture}.{kind}.jsonl").read_text().splitlines():
        case = json.loads(line)
        rows = [json.loads(row) for row in log[slice(*case["launches"])]]
        threads = [math.prod(row["grid"]) * math.prod(row["block"]) for row in rows]
        # The others clear a word, or look at the scales for marked blocks.
        size, row = max(zip(threads, rows, strict=True), key=lambda pair: pair[0])
        lines = tuple((int(number), count) for number, count in row.get("lines", {}).items())
        sectors = sum(moved(other["counters"]) for other in rows if other is not row)
        yield Launched(case, row["entry"], size, row["counters"], lines, 32 * sectors)


def moved(counters: dict[str, int]) -> int:
    """Sectors of a launch."""
    return counters["global_load_sectors"] + counters["global_store_sectors"]


def row_of(architecture: str, small: Launched, large: Launched) -> Row:
    case, entry, counters, elements = small.case, small.entry, small.counters, small.case["elements"]
    if (small.name, entry) != (large.name, large.entry):
        raise SystemExit(f"kernel-report: {small.name} runs {entry}, and {large.entry} where it is large")
    unit = unit_of(entry, architecture)
    blocks = fitted(unit, entry, small.lines)
    per_element = 32 / elements
    # What a thread does once is shared by more elements where there are more to a thread.
    once = per_element * (large.threads / large.case["elements"]) / (small.threads / elements)
    in_loops, outside = weigh(blocks, True), weigh(blocks, False)
    classes = {name: in_loops[name] * per_element + outside[name] * once for name in model.NAMES}
    total = sum(classes.values())
    costs = {**classes, "issue": total, "shared_passes": counters["shared_wavefronts"] * per_element}
    bytes_ = (case["read"] + case["written"]) / elements
    gpu = model.GPUS.get(architecture)
    after = small.after / elements
    predictions = {str(lanes): model.predict(gpu, costs, bytes_, lanes, after) for lanes in (64, 16)} if gpu else {}
    requests = {kind: counters[f"global_{kind}_requests"] for kind in ("load", "store")}
    sectors = {kind: counters[f"global_{kind}_sectors"] for kind in ("load", "store")}
    ideal = {"load": case["read"] / 32, "store": case["written"] / 32}
    return Row(
        case=small.name,
        architecture=architecture,
        entry=entry,
        exempt=case["exempt"],
        registers=unit.registers[entry],
        shared_bytes=unit.shared_bytes[entry],
        spill_bytes=unit.spills[entry],
        ptx=counters["warp_instructions"] * per_element,
        sass_small=sum(weigh(blocks).values()) * per_element,
        sass=total,
        in_loop=sum(in_loops.values()) * per_element,
        fitted=fits(blocks, counters),
        classes=classes,
        bytes=bytes_,
        sectors={kind: sectors[kind] / max(1, requests[kind]) for kind in sectors},
        ideal_sectors={kind: ideal[kind] / max(1, requests[kind]) for kind in sectors},
        sector_ratio=sum(sectors.values()) / sum(ideal.values()),
        bank_conflicts=counters["shared_bank_conflicts"],
        local_requests=counters["local_requests"],
        predicted=predictions,
    )


def weigh(blocks: list[sass.Block], in_loop: bool | None = None) -> dict[str, float]:
    """Executions of warps by pipe: all, those inside loops or those outside."""
    counts = dict.fromkeys(model.NAMES, 0.0)
    for block in blocks:
        if block.weight and in_loop in (None, block.in_loop):
            for instruction in block.code:
                counts[model.class_of(instruction.name)] += block.weight
    return counts


def fits(blocks: list[sass.Block], counters: dict[str, int]) -> bool:
    """Whether the fit's loads and stores are those that were counted.

    An access under a guard, or one without a known space, may or may not be among them.
    """
    sure: defaultdict[str, float] = defaultdict(float)
    perhaps: defaultdict[str, float] = defaultdict(float)
    for block in blocks:
        for instruction in block.code:
            (perhaps if instruction.guarded else sure)[instruction.name] += block.weight
    expected = [
        (["LDG", "LDGSTS"], ["LD"], counters["global_load_requests"]),
        (["STG"], ["ST"], counters["global_store_requests"]),
        (["LDS", "LDSM"], ["LD"], counters["shared_load_requests"]),
        (["STS", "STSM"], ["ST"], counters["shared_store_requests"]),
    ]
    for names, generic, count in expected:
        least = sum(sure[name] for name in names)
        most = least + sum(perhaps[name] for name in names) + sum(sure[name] + perhaps[name] for name in generic)
        if not least * (1 - FIT_TOLERANCE) <= count <= most * (1 + FIT_TOLERANCE):
            return False
    return True


@dataclass(frozen=True, eq=False)
class Unit:
    """The machine code of one source file for one architecture."""

    code: dict[str, list[sass.Block]]
    registers: dict[str, int]
    shared_bytes: dict[str, int]
    spills: dict[str, int]


def unit_of(entry: str, architecture: str) -> Unit:
    for ptx in sorted((FOLDER / "images").glob(f"*.{architecture}.ptx")):
        if f".entry {entry}(" in text_of(ptx):
            return read_unit(ptx)
    raise SystemExit(f"kernel-report: no image for {architecture} has the entry {entry}")


@cache
def fitted(unit: "Unit", entry: str, executed: tuple[tuple[int, int], ...]) -> list[sass.Block]:
    """Many cases differ in nothing that the kernel executes."""
    blocks = [dataclasses.replace(block) for block in unit.code[entry]]
    sass.fit(blocks, dict(executed))
    return blocks


@cache
def text_of(path: Path) -> str:
    return path.read_text()


@cache
def tools() -> Path:
    return Path(printed(["scripts/sass-tools"])) / "bin"


@cache
def read_unit(ptx: Path) -> Unit:
    """Assembles the PTX that was executed once more with its line table: the same code."""
    shipped, lined = ptx.with_suffix(".cubin"), ptx.with_suffix(".lines.cubin")
    ptxas = Path(printed(["scripts/nvcc"])) / "bin" / "ptxas"
    architecture = ptx.suffixes[-2][1:]
    report = run(
        [str(ptxas), "-v", "-lineinfo", "--fmad", "false", f"-arch=sm_{architecture}", "-o", str(lined), str(ptx)]
    )
    plain, annotated = (
        printed([str(tools() / "nvdisasm"), *options, str(path)])
        for options, path in ((["-c"], shipped), (["-c", "-gp"], lined))
    )
    if instructions(plain) != instructions(annotated):
        raise SystemExit(f"kernel-report: {ptx.name} assembled with its line table is not the code that is shipped")
    usage = printed([str(tools() / "cuobjdump"), "--dump-resource-usage", str(shipped)])
    resources = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:\d+ SHARED:(\d+)", usage)
    return Unit(
        code=sass.functions(annotated),
        registers={name: int(registers) for name, registers, _ in resources},
        shared_bytes={name: int(shared) for name, _, shared in resources},
        spills=spills(report.stdout + report.stderr),
    )


def instructions(text: str) -> list[str]:
    return [row.strip() for row in text.splitlines() if row.lstrip().startswith("/*")]


def spills(report: str) -> dict[str, int]:
    """Bytes that each entry and the functions it calls spill, from the report of `ptxas -v`."""
    found: dict[str, int] = {}
    entry = ""
    for line in report.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)'", line):
            entry = match[1]
            found[entry] = 0
        elif match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            found[entry] = found.get(entry, 0) + int(match[1]) + int(match[2])
    return found
