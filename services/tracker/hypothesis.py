"""Global hypotheses of one camera: which leaves are all true together, and how likely that is.

Each frame the few best hypotheses are expanded jointly by the k best assignments (Cox and Hingorani 1996);
what falls behind, or disagrees with the best about what was long ago, is pruned (N-scan).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.tracker.appearance import blend
from services.tracker.compiled import compiled
from services.tracker.kalman import Float64, begin, to_corners, update, update_velocity
from services.tracker.leaves import (
    CONFIRMED,
    DETECTION,
    EVIDENCE,
    FIRST_NS,
    HITS,
    KNOWN,
    LAST_NS,
    PARENT,
    SCORE,
    TAGS,
    TREE,
    WIDTH,
    Int64,
)
from services.tracker.likelihood import iou
from services.tracker.murty import k_best
from services.tracker.parameters import Parameters

MOST_PAIRS = 100_000
"""With more pairs of leaves and detections than this in a frame only the best hypothesis is kept."""


@compiled
def expand(
    cost: Float64, miss: Float64, members: Int64, sizes: Int64, bases: Float64, shown: int, p: Parameters
) -> tuple[Int64, Int64, Float64]:
    """The best continuations of all hypotheses by one frame's detections.

    cost: (L, M) what `pair_costs` gives.  miss: (L,) what a leaf without a detection costs.  members:
    (H, N) the leaves of each hypothesis, of which the first sizes[h] count.  bases: (H,) what each has
    cost.  shown: the hypothesis whose best continuation is among them however many others are better, so
    that a crowd's many small ambiguities do not push it out.  Returns (K,) the parent of each, (K, N) the
    detection of each member (-1: none) and (K,) costs, lowest first.
    """
    most = p.hypotheses if cost.size <= MOST_PAIRS else 1
    parents, columns, costs = k_best(cost, miss, members, sizes, bases, most, p.margin)
    if len(parents) < most or most == 1 or (parents == shown).any():
        return parents, columns, costs
    only = slice(shown, shown + 1)
    _, own, total = k_best(cost, miss, members[only], sizes[only], bases[only], 1, p.margin)
    if len(total) and total[0] <= costs[0] + p.margin:
        parents[-1], columns[-1], costs[-1] = shown, own[0], total[0]
    return parents, columns, costs


@compiled
def ended(
    state: Float64, tags: Int64, t_ns: int, width: float, height: float, age_s: float, p: Parameters
) -> bool:
    """Whether a leaf has been unseen for too long: (WIDTH,) and (TAGS,) rows."""
    unseen_s = (t_ns - tags[LAST_NS]) * 1e-9
    if tags[CONFIRMED] == 0:
        return bool(unseen_s > p.tentative_s)
    outside = not (0.0 <= state[0] <= width and 0.0 <= state[1] <= height)
    return bool(unseen_s > age_s or (outside and unseen_s > p.outside_s))


@compiled
def _is_twin(
    j: int,
    boxes: Float64,
    belief: Float64,
    strong: NDArray[np.bool_],
    used: NDArray[np.bool_],
    overlap: float,
) -> bool:
    """Whether detection j lies on one that continues a track, or on another newcomer that is likelier."""
    for other in range(len(boxes)):
        better = strong[other] and (belief[other], -other) > (belief[j], -j)
        if (used[other] or better) and iou(boxes[j], boxes[other]) >= overlap:
            return True
    return False


@compiled
def _is_there(
    box: Float64, state: Float64, tags: Int64, leaves: Int64, columns: Int64, t_ns: int, p: Parameters
) -> bool:
    """Whether somebody confirmed who was seen a moment ago, and is not seen now, is expected at a box."""
    expected = np.empty(4)
    for i in range(len(leaves)):
        leaf = leaves[i]
        unseen_s = (t_ns - tags[leaf, LAST_NS]) * 1e-9
        if columns[i] >= 0 or tags[leaf, CONFIRMED] == 0 or unseen_s > p.tentative_s:
            continue
        x, y, w, h = state[leaf, 0], state[leaf, 1], state[leaf, 2], state[leaf, 3]
        expected[0], expected[1] = x - w / 2.0, y - h / 2.0
        expected[2], expected[3] = x + w / 2.0, y + h / 2.0
        if iou(box, expected) >= p.twin:
            return True
    return False


@compiled
def _is_double(leaf: int, state: Float64, tags: Int64, leaves: Int64, overlap: float) -> bool:
    """Whether a leaf is where another, confirmed one is."""
    boxes = to_corners(state[leaves, :4])
    box = to_corners(state[leaf : leaf + 1, :4])[0]
    for i in range(len(leaves)):
        if leaves[i] != leaf and tags[leaves[i], CONFIRMED] != 0 and iou(box, boxes[i]) >= overlap:
            return True
    return False


@compiled
def grow(
    state: Float64,
    tags: Int64,
    members: Int64,
    sizes: Int64,
    parents: Int64,
    columns: Int64,
    boxes: Float64,
    centres: Float64,
    noise: Float64,
    sigma: Float64,
    scores: Float64,
    belief: Float64,
    strong: NDArray[np.bool_],
    flow: Float64,
    t_ns: int,
    dt_s: float,
    width: float,
    height: float,
    age_s: float,
    tree: int,
    p: Parameters,
) -> tuple[Float64, Int64, Int64, Int64, int, Int64]:
    """The leaves and hypotheses after a frame: everybody continued, begun and ended as assigned.

    state, tags: the leaves, predicted to this frame.  parents, columns: as `expand` gives.  tree:
    number of the next new tree.  Returns the new leaves' three arrays, the members (K, N') and sizes (K,)
    of each hypothesis, the next tree's number, and (K,) how many were confirmed in each
    where somebody else is.
    """
    n, m, k = len(state), len(centres), len(parents)
    child = np.full((n, m + 1), -1, np.int64)
    root = np.full(m, -1, np.int64)
    most = 0
    for h in range(k):
        most = max(most, sizes[parents[h]] + m)
    new_members = np.full((k, most), -1, np.int64)
    new_sizes = np.zeros(k, np.int64)
    origin = np.empty((k * most, 2), np.int64)  # of each new leaf: the parent (-1: none) and the detection
    count = 0
    used = np.empty(m, np.bool_)
    for h in range(k):
        q = parents[h]
        used[:] = False
        size = 0
        for i in range(sizes[q]):
            leaf, j = members[q, i], columns[h, i]
            if j >= 0:
                used[j] = True
            elif ended(state[leaf], tags[leaf], t_ns, width, height, age_s, p):
                continue
            if child[leaf, j] < 0:  # the last column stands for none
                child[leaf, j] = count
                origin[count, 0], origin[count, 1] = leaf, j
                count += 1
            new_members[h, size] = child[leaf, j]
            size += 1
        for j in range(m):
            if used[j] or not strong[j]:
                continue
            if _is_twin(j, boxes, belief, strong, used, p.twin):
                continue
            if _is_there(boxes[j], state, tags, members[q, : sizes[q]], columns[h], t_ns, p):
                continue
            if root[j] < 0:
                root[j] = count
                origin[count, 0], origin[count, 1] = -1, j
                count += 1
            new_members[h, size] = root[j]
            size += 1
        new_sizes[h] = size
    new_state = np.empty((count, WIDTH))
    new_tags = np.empty((count, TAGS), np.int64)
    fresh = np.zeros(count, np.bool_)
    share = 1.0 - np.exp(-dt_s / p.correlation_s)
    for leaf in range(count):
        parent, j = origin[leaf, 0], origin[leaf, 1]
        row, tag = new_state[leaf], new_tags[leaf]
        if parent < 0:
            begin(row, centres[j], noise[j], sigma, p)
            row[EVIDENCE] = p.start
            tag[TREE], tag[FIRST_NS], tag[HITS], tag[CONFIRMED], tag[KNOWN] = tree, t_ns, 0, 0, 0
            tree += 1
        else:
            for d in range(WIDTH):
                row[d] = state[parent, d]
            for d in range(TAGS):
                tag[d] = tags[parent, d]
            if j >= 0:
                update(row, centres[j], noise[j], sigma, p.surprise)
        tag[PARENT], tag[DETECTION] = parent, j
        if j < 0:
            row[EVIDENCE] -= p.lost * dt_s
            continue
        tag[LAST_NS] = t_ns
        tag[HITS] += 1
        row[SCORE] = scores[j]
        row[EVIDENCE] = min(
            row[EVIDENCE] + (belief[j] if parent < 0 else (belief[j] + p.hit) * share), p.rich
        )
        if row[EVIDENCE] >= p.confirmation and tag[CONFIRMED] == 0:
            tag[CONFIRMED] = 1
            fresh[leaf] = True
        if dt_s > 0.0 and np.isfinite(flow[j, 0]) and np.isfinite(flow[j, 1]):
            update_velocity(row, flow[j, 0] / dt_s, flow[j, 1] / dt_s, p)
    doubled = np.zeros(k, np.int64)
    for h in range(k):
        for i in range(new_sizes[h]):
            leaf = new_members[h, i]
            if fresh[leaf] and _is_double(leaf, new_state, new_tags, new_members[h, : new_sizes[h]], p.twin):
                doubled[h] += 1
    return new_state, new_tags, new_members, new_sizes, tree, doubled


@compiled
def prune(
    tags: Int64,
    members: Int64,
    sizes: Int64,
    costs: Float64,
    parents: Int64,
    parted: Int64,
    shown: int,
    t_ns: int,
    p: Parameters,
) -> tuple[Int64, int, Int64]:
    """Which hypotheses stay, which of them is shown, and when each two of them parted.

    tags: (L, TAGS) the new leaves.  parted: (H, H) times at which the lines of the parents parted.  shown:
    the parent that was shown.  Returns (K,) indices, the shown one's place among them, and (K, K).
    """
    k = len(parents)
    apart = np.empty((k, k), np.int64)
    for a in range(k):
        for b in range(k):
            apart[a, b] = t_ns if parents[a] == parents[b] else parted[parents[a], parents[b]]
    best, loyal = int(costs.argmin()), -1
    for h in range(k):
        if loyal < 0 and parents[h] == shown:
            loyal = h
    now = best
    if loyal >= 0:
        now = loyal
        least = costs[loyal]
        there = np.zeros(len(tags), np.bool_)
        for h in range(k):
            if costs[h] + p.switch >= least:
                continue
            there[:] = False
            for leaf in members[h, : sizes[h]]:
                there[leaf] = True
            changed = 0
            for leaf in members[loyal, : sizes[loyal]]:
                changed += tags[leaf, CONFIRMED] != 0 and not there[leaf]
            # Two who are swapped are one change, and each change must be worth it.
            cost = costs[h] + p.switch * max(1.0, changed / 2.0)
            if cost < least:
                now, least = h, cost
    stays = np.zeros(k, np.bool_)
    for h in range(k):
        old = h != now and parents[h] != parents[now] and (t_ns - apart[h, now]) * 1e-9 > p.scan_s
        same = False
        for other in range(h):
            if stays[other] and sizes[other] == sizes[h]:
                same = True
                for i in range(sizes[h]):
                    if members[other, i] != members[h, i]:
                        same = False
                        break
                if same:
                    break
        stays[h] = h == now or not (old or same)
    kept = np.empty(k, np.int64)
    count, place = 0, 0
    for h in range(k):
        if stays[h]:
            if h == now:
                place = count
            kept[count] = h
            count += 1
    kept = kept[:count]
    table = np.empty((len(kept), len(kept)), np.int64)
    for a in range(len(kept)):
        for b in range(len(kept)):
            table[a, b] = apart[kept[a], kept[b]]
    return kept, place, table


@compiled
def compact(
    state: Float64, tags: Int64, members: Int64, sizes: Int64, kept: Int64
) -> tuple[Float64, Int64, Int64, Int64]:
    """Only the hypotheses `kept` and the leaves they are made of."""
    most = 0
    for h in kept:
        most = max(most, sizes[h])
    place = np.full(len(state), -1, np.int64)
    rows = np.empty(len(state), np.int64)
    count = 0
    new_members = np.full((len(kept), most), -1, np.int64)
    new_sizes = np.empty(len(kept), np.int64)
    for a in range(len(kept)):
        h = kept[a]
        new_sizes[a] = sizes[h]
        for i in range(sizes[h]):
            leaf = members[h, i]
            if place[leaf] < 0:
                place[leaf] = count
                rows[count] = leaf
                count += 1
            new_members[a, i] = place[leaf]
    new_state, new_tags = np.empty((count, WIDTH)), np.empty((count, TAGS), np.int64)
    for leaf in range(count):
        for d in range(WIDTH):
            new_state[leaf, d] = state[rows[leaf], d]
        for d in range(TAGS):
            new_tags[leaf, d] = tags[rows[leaf], d]
    return new_state, new_tags, new_members, new_sizes


@compiled
def remembered(tags: Int64, looks: Float64, vectors: Float64, quality: Float64) -> Float64:
    """(L, D) the smoothed embeddings of the leaves after a frame, whose tags say then that they are known.

    looks: those of the leaves before.  vectors, quality: (M, D), (M,) of the detections.
    """
    size = looks.shape[1]
    out = np.zeros((len(tags), size))
    for leaf in range(len(tags)):
        tag, look = tags[leaf], out[leaf]
        parent, j = tag[PARENT], tag[DETECTION]
        if parent >= 0:
            for d in range(size):
                look[d] = looks[parent, d]
        if j < 0 or quality[j] <= 0.0:
            continue
        if tag[KNOWN]:
            blend(look, vectors[j], quality[j])
        else:
            look[:] = vectors[j]  # of length 1
        tag[KNOWN] = 1
    return out
