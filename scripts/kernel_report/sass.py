"""Machine code with its line table, and how often each block of it was executed.

ptxas ties every instruction to a line of the PTX, and the emulator counts how often warps came to
each line. Neither knows the assembler's blocks, and single instructions move between them, so the
executions of blocks are those that agree with as many lines as possible (least sum of distances)
among all in which what enters a block leaves it: a circulation of least cost.

Copies of a line in several blocks share its count. Of a loop that ptxas unrolled, the copy with the
most iterations is taken to have run them all, and the assembler's slow paths (operands at the
edges of the range in a division or square root, shuffles of a warp whose lanes came apart) none.
"""

import re
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from flow import INFINITY, Network

SECTION = re.compile(r"^//-+ \.text\.(\S+) -+$")
LABEL = re.compile(r"^(\.L_\S+|\$\S+|[A-Za-z_]\S*):$")
LINE = re.compile(r'^\s*//## File "\.nv_debug_ptx_txt", line (\d+)')
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@(!?U?P\w+)\s+)?(\S+)\s*(.*?)\s*;")
TARGETS = re.compile(r'`\(([^)]+)\)|BRANCH_TARGETS ([^"]+)"')


Key = tuple[int, str]  # a line and an opcode

# What the assembler does not move between blocks says more about them than the rest.
STAYS = {"STG", "ST", "STS", "LDG", "LD", "LDS", "BAR", "SHFL", "BRA", "ATOMG", "REDG"}
STAYS_WEIGHT = 4


@dataclass
class Instruction:
    opcode: str
    guarded: bool
    targets: list[str]
    operands: str
    line: int | None

    @property
    def name(self) -> str:
        return self.opcode.split(".")[0]

    def is_conditional(self) -> bool:
        """Guarded, or a branch by an operand such as UP0 before its target."""
        return self.guarded or (self.name == "BRA" and not self.operands.startswith("`("))

    def is_padding(self, labels: list[str]) -> bool:
        """Fills up a section, in a block of these labels: nothing, or a jump to itself."""
        stays = self.name == "BRA" and self.targets == labels and not self.is_conditional()
        return stays or self.name == "NOP"


@dataclass
class Block:
    labels: list[str] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    next: list[int] = field(default_factory=list)
    weight: float = 0.0
    in_loop: bool = False

    def ends(self) -> bool:
        return bool(self.code) and self.code[-1].name in ("BRA", "EXIT", "RET", "BRX", "JMP", "BSYNC")

    def is_slow(self) -> bool:
        """Whether it calls the assembler's handling of rare operands, or brings lanes together again."""
        calls = any(i.name == "CALL" and i.targets[0].endswith("_slowpath") for i in self.code if i.targets)
        return calls or any(i.opcode.startswith("WARPSYNC.COLLECTIVE") for i in self.code)

    def keys(self, executed: dict[int, int]) -> Counter[Key]:
        """How often each opcode of each line that the emulator knows stands here."""
        return Counter((i.line, i.opcode) for i in self.code if i.line is not None and i.line in executed)


def functions(text: str) -> dict[str, list[Block]]:
    """The blocks of every function in the output of `nvdisasm -c -gp`."""
    found: dict[str, list[Block]] = {}
    blocks: list[Block] = []
    line: int | None = None
    for row in text.splitlines():
        if match := SECTION.match(row):
            blocks = found.setdefault(match[1], [Block()])
            line = None
        elif match := LINE.match(row):
            line = int(match[1])
        elif match := LABEL.match(row):
            if blocks and blocks[-1].code:
                blocks.append(Block())
            if blocks:
                blocks[-1].labels.append(match[1])
            if not match[1].startswith(".L_"):
                line = None  # a function of its own; those of the assembler have no lines
        elif blocks and (match := INSTRUCTION.match(row)):
            if blocks[-1].ends():
                blocks.append(Block())
            guard, opcode, operands = match.groups()
            blocks[-1].code.append(Instruction(opcode, guard is not None, targets(operands), operands, line))
    for name, blocks in found.items():
        found[name] = without_padding(blocks)
        connect(found[name])
        mark_loops(found[name])
    return found


def targets(operands: str) -> list[str]:
    match = TARGETS.search(operands)
    return (match[1] or match[2]).split(",") if match else []


def without_padding(blocks: list[Block]) -> list[Block]:
    for block in blocks:
        block.code = [i for i in block.code if not i.is_padding(block.labels)]
    return [block for block in blocks if block.code or block.labels]


def connect(blocks: list[Block]) -> None:
    at = {label: index for index, block in enumerate(blocks) for label in block.labels}
    joins: dict[str, list[str]] = {}  # a barrier register and where its waiters go on
    for index, block in enumerate(blocks):
        for instruction in block.code:
            if instruction.name == "BSSY":
                joins[instruction.operands.split(",")[0]] = instruction.targets
        last = block.code[-1] if block.code else None
        ahead = last.targets if last and last.name in ("BRA", "BRX", "JMP") else []
        if last and last.name == "BSYNC":
            ahead = joins.get(last.operands.split()[0], [])
        falls = last is None or not block.ends() or last.is_conditional()
        following = [index + 1] if falls and index + 1 < len(blocks) else []
        block.next = sorted({*following, *(at[target] for target in ahead if target in at)})


def mark_loops(blocks: list[Block]) -> None:
    """Marks the bodies of natural loops, which end with an edge to a block that dominates it."""
    before: list[list[int]] = [[] for _ in blocks]
    for index, block in enumerate(blocks):
        for after in block.next:
            before[after].append(index)
    callees = [i for i, block in enumerate(blocks) if i and any(not label.startswith(".L_") for label in block.labels)]
    for block in blocks[min(callees, default=len(blocks)) :]:
        block.in_loop = True  # what is called, is called there
    dominators = dominance(blocks, before)
    for index, block in enumerate(blocks):
        for header in block.next:
            if header in dominators[index]:
                body, ahead = {header}, [index]
                while ahead:
                    at = ahead.pop()
                    if at not in body:
                        body.add(at)
                        ahead += before[at]
                for at in body:
                    blocks[at].in_loop = True


def dominance(blocks: list[Block], before: list[list[int]]) -> list[set[int]]:
    everything = set(range(len(blocks)))
    roots = {i for i in everything if not before[i]} | {0}
    dominators = [{i} if i in roots else set(everything) for i in range(len(blocks))]
    changed = True
    while changed:
        changed = False
        for index in sorted(everything - roots):
            new = {index}.union(set.intersection(*(dominators[b] for b in before[index])))
            changed |= new != dominators[index]
            dominators[index] = new
    return dominators


def fit(blocks: list[Block], executed: dict[int, int]) -> None:
    """Sets every block's weight: how often warps came there."""
    network = Network()
    outside = network.node()
    ends = [(network.node(), network.node()) for _ in blocks]
    pieces = []
    for index, (block, votes) in enumerate(zip(blocks, ballots(blocks, executed))):
        enter, leave = ends[index]
        pieces.append([network.arc(enter, leave, length, slope) for length, slope in convex(votes)])
        for after in block.next:
            network.arc(leave, ends[after][0], INFINITY, 0)
        if index == 0 or any(not label.startswith(".L_") for label in block.labels):
            network.arc(outside, enter, INFINITY, 0)
        if block.code and (block.code[-1].name in ("EXIT", "RET") or not block.next):
            network.arc(leave, outside, INFINITY, 0)
    network.balance()
    for block, arcs in zip(blocks, pieces):
        block.weight = sum(network.flow(arc) for arc in arcs)
    enter_calls(blocks)


def ballots(blocks: list[Block], executed: dict[int, int]) -> list[Counter[float]]:
    """What the lines of each block say about its executions, and how many say so."""
    keys = [block.keys(executed) for block in blocks]
    copies = [statistics.median_low(found.values()) if found else 1 for found in keys]
    most: Counter[Key] = Counter()
    quick = [(found, many) for block, found, many in zip(blocks, keys, copies) if not block.is_slow()]
    for found, many in quick:
        for key in found:
            most[key] = max(most[key], many)
    sharers: Counter[Key] = Counter()
    for found, many in quick:
        sharers.update(key for key in found if most[key] == many)
    result = []
    for block, found, many in zip(blocks, keys, copies):
        votes: Counter[float] = Counter()
        for key in found:
            runs = most[key] == many and not block.is_slow()
            share = executed[key[0]] / (many * sharers[key]) if runs else 0.0
            votes[share] += STAYS_WEIGHT if key[1].split(".")[0] in STAYS else 1
        result.append(votes)
    return result


def convex(votes: Counter[float]) -> list[tuple[float, float]]:
    """Lengths and slopes of the sum of distances from the votes."""
    slope, at, pieces = -float(votes.total()), 0.0, []
    for vote, many in sorted(votes.items()):
        if vote > at:
            pieces.append((vote - at, slope))
        slope, at = slope + 2 * many, vote
    return [*pieces, (INFINITY, slope)]


def enter_calls(blocks: list[Block]) -> None:
    """The assembler's own functions have no lines: they run from end to end at every call."""
    calls: defaultdict[str, float] = defaultdict(float)
    for block in blocks:
        for instruction in block.code:
            if instruction.name == "CALL" and instruction.targets:
                calls[instruction.targets[0]] += block.weight
    weight: float | None = None
    for block in blocks:
        named = [label for label in block.labels if not label.startswith(".L_")]
        if named:
            internal = any("__internal_" in label for label in named)
            weight = sum(calls[label] for label in named) if internal else None
        if weight is not None:
            block.weight = weight
