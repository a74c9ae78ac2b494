"""The checked-in table, what must hold, what is aimed at, and the report for people."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import model
from measure import ROOT, Row

TABLE = ROOT / "docs" / "kernel-report.json"
MOST_SECTORS = 1.1  # against the ideal
MOST_RISE = 1.1  # of instructions per element, against the table

Table = Mapping[str, Mapping[str, float]]  # instructions per element by case and architecture


def read(path: Path = TABLE) -> Table:
    return json.loads(path.read_text()) if path.exists() else {}


def table_of(rows: Iterable[Row]) -> Table:
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        table.setdefault(row.case, {})[row.architecture] = round(row.sass, 2)
    return table


def write(rows: Iterable[Row], path: Path = TABLE) -> None:
    lines = [f"  {json.dumps(case)}: {json.dumps(counts)}" for case, counts in table_of(rows).items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def problems(rows: Iterable[Row], table: Table) -> list[str]:
    """What CI fails on, in words."""
    found, seen = [], set()
    for row in rows:
        where = f"{row.case} on {row.architecture} ({row.entry})"
        seen.add(row.case)
        if row.spill_bytes and not row.exempt:
            found.append(f"{where}: spills {row.spill_bytes} bytes")
        if row.sector_ratio > MOST_SECTORS and not row.exempt:
            found.append(f"{where}: {row.sector_ratio:.2f} times the ideal sectors, more than {MOST_SECTORS}")
        before = table.get(row.case, {}).get(row.architecture)
        if before is None:
            found.append(f"{where}: not in {TABLE.name}; scripts/kernel-report --update writes it")
        elif row.sass > before * MOST_RISE:
            found.append(
                f"{where}: {row.sass:.1f} instructions an element, {before:.1f} in {TABLE.name}: more than 10 % above"
            )
    found += [f"{case}: in {TABLE.name}, but no case any more" for case in table if case not in seen]
    return found


# The predicted share that a fast kernel is aimed at: to nearest (or without rounding), and stochastic.
GOALS: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]] = {
    "rotate": ({"90a": 0.85}, {}),
    "rotate-amax": ({"90a": 0.85}, {}),
    "rotate-quantize": ({"90a": 0.75}, {"90a": 0.60}),
}
OTHER_GOALS: tuple[Mapping[str, float], Mapping[str, float]] = (
    {"90a": 0.85, "100a": 0.85},
    {"90a": 0.70, "100a": 0.50},
)


def goal(row: Row) -> float | None:
    """The share that the row's kernel is aimed at."""
    nearest, stochastic = GOALS.get(row.case.split()[0], OTHER_GOALS)
    return (stochastic if row.case.endswith(" stochastic") else nearest).get(row.architecture)


def missed(row: Row) -> list[str]:
    """Goals that a row misses; they fail nothing."""
    aim = goal(row)
    found = []
    if aim is not None and row.predicted["64"].share < aim:
        found.append(f"share below {aim}")
    if row.bank_conflicts:
        found.append("bank conflicts")
    if row.classes.get("local"):
        found.append("local memory")
    return found


HEAD = (
    f"{'case':<40} {'entry':<28} {'arch':>4} {'regs':>4} {'spill':>5} {'PTX':>6} {'SASS':>7} {'large':>6}"
    f" {'loop':>6} {'bytes':>5} {'load':>11} {'store':>11} {'ratio':>5} {'confl':>5} {'predicted':>9} limit"
)

LEGEND = """
PTX, SASS, large, loop: instructions an element, executed as PTX and as machine code, the latter with as many elements
to a thread as a large tensor has, and those inside loops; ~ where the fit does not give the loads and stores that
were counted. bytes: an element, read and written.
load, store: sectors a request / ideal. ratio: all sectors / ideal. confl: bank conflicts.
predicted: predicted share of the memory floor by a pencil model (docs/kernels.md), not a measurement; two figures are
for conversion units of 64 and 16 lanes. * misses a goal. exempt: not held to them."""


def row_text(row: Row) -> str:
    load, store = (f"{row.sectors[kind]:.1f}/{row.ideal_sectors[kind]:.1f}" for kind in ("load", "store"))
    sass = f"{row.sass_small:.1f}" if row.fitted else f"~{row.sass_small:.1f}"
    notes = "exempt" if row.exempt else "*" if missed(row) else ""
    return (
        f"{row.case:<40} {row.entry.removeprefix('blockscale_'):<28} {row.architecture:>4} {row.registers:>4}"
        f" {row.spill_bytes:>5} {row.ptx:>6.1f} {sass:>7} {row.sass:>6.1f} {row.in_loop:>6.1f} {row.bytes:>5.2f}"
        f" {load:>11} {store:>11} {row.sector_ratio:>5.2f} {row.bank_conflicts:>5} {prediction_text(row)} {notes}"
    ).rstrip()


def prediction_text(row: Row) -> str:
    if not row.predicted:
        return f"{'-':>9}"
    best, narrow = row.predicted["64"], row.predicted["16"]
    if best == narrow:
        return f"{best.share:>9.2f} {best.limit}"
    return f"{best.share:>4.2f} {narrow.share:.2f} {best.limit}, {narrow.limit}"


def text(rows: list[Row]) -> str:
    gpus = [f"{architecture} on {gpu}" for architecture, gpu in model.GPUS.items()]
    return "\n".join([HEAD, *map(row_text, rows), LEGEND, *gpus])


def summary(rows: list[Row]) -> str:
    held = [row for row in rows if not row.exempt]
    short = [f"goal missed: {row.case} on {row.architecture}: {', '.join(missed(row))}" for row in held if missed(row)]
    reasons = sorted({row.exempt for row in rows if row.exempt})
    return "\n".join(
        [
            f"{len(rows)} rows, {len(rows) - len(held)} of them exempt, {len(short)} that miss a goal",
            *(f"exempt: {reason}" for reason in reasons),
            *short,
        ]
    )
