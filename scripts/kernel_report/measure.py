"""Runs every case on the emulator for each architecture, and reads the machine code beside it."""

import dataclasses
import json
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
    sass: float
    in_loop: float  # the part of `sass` inside loops
    fitted: bool  # the fitted loads and stores are those that the emulator counted
    classes: dict[str, float]
    bytes: float
    sectors: dict[str, float]  # a request, for loads and stores
    ideal_sectors: dict[str, float]
    sector_ratio: float  # all sectors against the fewest that hold the bytes
    bank_conflicts: int
    local_requests: int
    predicted: dict[str, model.Prediction]  # by lanes of the conversion unit


def run(command: list[str], **environment: str) -> str:
    try:
        result = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise SystemExit(f"kernel-report: {' '.join(command)}: {error}") from error
    if result.returncode:
        raise SystemExit(f"kernel-report: {' '.join(command)} failed:\n{result.stdout}")
    return result.stdout


def launch(architectures: list[str]) -> None:
    """Builds, and runs every case on each architecture."""
    cuda = run(["scripts/nvcc"]).strip()
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
        log = FOLDER / f"{architecture}.log"
        log.unlink(missing_ok=True)
        run(
            CASES_TEST,
            **build,
            LD_LIBRARY_PATH=f"{driver}:{path}" if path else str(driver),
            BLOCKSCALE_EMULATOR_CC=ARCHITECTURES[architecture],
            BLOCKSCALE_EMULATOR_LOG=str(log),
            BLOCKSCALE_EMULATOR_PROFILE="1",
            BLOCKSCALE_KERNEL_CASES=str(FOLDER),
        )


def measured(architectures: list[str]) -> Iterator[Row]:
    """The rows of what `launch` left."""
    for architecture in architectures:
        log = (FOLDER / f"{architecture}.log").read_text().splitlines()
        for line in (FOLDER / f"{architecture}.jsonl").read_text().splitlines():
            case = json.loads(line)
            launches = [json.loads(row) for row in log[slice(*case["launches"])]]
            # The others of a case clear a word or the like.
            largest = max(launches, key=lambda launch: launch["counters"]["warp_instructions"])
            yield row_of(case, architecture, largest)


def row_of(case: dict[str, Any], architecture: str, launched: dict[str, Any]) -> Row:
    entry, counters, elements = launched["entry"], launched["counters"], case["elements"]
    unit = unit_of(entry, architecture)
    blocks = fitted(unit, entry, tuple((int(line), count) for line, count in launched["lines"].items()))
    per_element = 32 / elements
    classes = {name: count * per_element for name, count in weigh(blocks).items()}
    total = sum(classes.values())
    in_loop = sum(block.weight * len(block.code) for block in blocks if block.in_loop) * per_element
    costs = {
        **dict.fromkeys(model.NAMES, 0.0),
        **classes,
        "issue": total,
        "shared_passes": counters["shared_wavefronts"] * per_element,
    }
    bytes_ = (case["read"] + case["written"]) / elements
    gpu = model.GPUS.get(architecture)
    predictions = {str(lanes): model.predict(gpu, costs, bytes_, lanes) for lanes in (64, 16)} if gpu else {}
    requests = {kind: counters[f"global_{kind}_requests"] for kind in ("load", "store")}
    sectors = {kind: counters[f"global_{kind}_sectors"] for kind in ("load", "store")}
    ideal = {"load": case["read"] / 32, "store": case["written"] / 32}
    return Row(
        case=" ".join(case[part] for part in ("verb", "format", "dtype", "rounding") if case[part] != "-"),
        architecture=architecture,
        entry=entry,
        exempt=case["exempt"],
        registers=unit.registers[entry],
        shared_bytes=unit.shared_bytes[entry],
        spill_bytes=unit.spills[entry],
        ptx=counters["warp_instructions"] * per_element,
        sass=total,
        in_loop=in_loop,
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


def weigh(blocks: list[sass.Block]) -> dict[str, float]:
    """Executions of warps, by pipe."""
    counts: defaultdict[str, float] = defaultdict(float)
    for block in blocks:
        if block.weight:
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
        (["LDG"], ["LD"], counters["global_load_requests"]),
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
    return Path(run(["scripts/sass-tools"]).strip()) / "bin"


@cache
def read_unit(ptx: Path) -> Unit:
    """Assembles the PTX that was executed once more with its line table: the same code."""
    shipped, lined = ptx.with_suffix(".cubin"), ptx.with_suffix(".lines.cubin")
    ptxas = Path(run(["scripts/nvcc"]).strip()) / "bin" / "ptxas"
    architecture = ptx.suffixes[-2][1:]
    report = run(
        [str(ptxas), "-v", "-lineinfo", "--fmad", "false", f"-arch=sm_{architecture}", "-o", str(lined), str(ptx)]
    )
    plain, annotated = (
        run([str(tools() / "nvdisasm"), *options, str(path)])
        for options, path in ((["-c"], shipped), (["-c", "-gp"], lined))
    )
    if instructions(plain) != instructions(annotated):
        raise SystemExit(f"kernel-report: {ptx.name} assembled with its line table is not the code that is shipped")
    usage = run([str(tools() / "cuobjdump"), "--dump-resource-usage", str(shipped)])
    resources = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:\d+ SHARED:(\d+)", usage)
    return Unit(
        code=sass.functions(annotated),
        registers={name: int(registers) for name, registers, _ in resources},
        shared_bytes={name: int(shared) for name, _, shared in resources},
        spills=spills(report),
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
