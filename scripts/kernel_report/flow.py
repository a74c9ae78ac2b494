"""Circulations of least cost: successive shortest paths with potentials."""

import heapq
from dataclasses import dataclass, field

INFINITY = float("inf")
LEAST = 1e-6  # flows below this are rounding


@dataclass
class Network:
    """Arcs come in pairs: an even one and, behind it, its reverse."""

    heads: list[int] = field(default_factory=list)
    room: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    arcs: list[list[int]] = field(default_factory=list)  # of each node
    excess: list[float] = field(default_factory=list)

    def node(self) -> int:
        self.arcs.append([])
        self.excess.append(0.0)
        return len(self.arcs) - 1

    def arc(self, tail: int, head: int, capacity: float, cost: float) -> int:
        """An arc; one of negative cost starts full, which leaves nodes to be balanced."""
        first = len(self.heads)
        full = cost < 0
        self.heads += [head, tail]
        self.room += [0.0, capacity] if full else [capacity, 0.0]
        self.cost += [cost, -cost]
        self.arcs[tail].append(first)
        self.arcs[head].append(first + 1)
        if full:
            self.excess[tail] -= capacity
            self.excess[head] += capacity
        return first

    def flow(self, arc: int) -> float:
        return self.room[arc + 1]

    def balance(self) -> None:
        """Moves every excess to a lack by the cheapest ways."""
        potential = [0.0] * len(self.arcs)
        while (found := self._nearest(potential)) is not None:
            end, distance, by = found
            for node, far in enumerate(distance):
                potential[node] += min(far, distance[end])
            self._push(end, by)

    def _nearest(self, potential: list[float]) -> tuple[int, list[float], list[int]] | None:
        """The lack that is cheapest to reach, with distances and ways; final as far as it."""
        distance = [0.0 if excess > LEAST else INFINITY for excess in self.excess]
        by = [-1] * len(self.arcs)
        queue = [(0.0, node) for node, far in enumerate(distance) if far == 0]
        while queue:
            far, node = heapq.heappop(queue)
            if far > distance[node]:
                continue
            if self.excess[node] < -LEAST:
                return node, distance, by
            for arc in self.arcs[node]:
                head = self.heads[arc]
                if self.room[arc] > LEAST:
                    there = far + max(0.0, self.cost[arc] + potential[node] - potential[head])
                    if there < distance[head]:
                        distance[head], by[head] = there, arc
                        heapq.heappush(queue, (there, head))
        return None

    def _push(self, end: int, by: list[int]) -> None:
        path, node = [], end
        while by[node] >= 0:
            path.append(by[node])
            node = self.heads[by[node] ^ 1]
        amount = min([self.excess[node], -self.excess[end], *(self.room[arc] for arc in path)])
        for arc in path:
            self.room[arc] -= amount
            self.room[arc ^ 1] += amount
        self.excess[node] -= amount
        self.excess[end] += amount
