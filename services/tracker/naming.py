"""Assign identities to the chains of tracks that one decision has linked."""

from __future__ import annotations

from typing import NamedTuple

from services.tracker.person import TrackedPerson
from services.tracker.register import Register
from services.tracker.track import Track


class Chains(NamedTuple):
    """N tracks as chains, one a person.

    chain_of: the chain of each track.  settled: the identity of each chain where it is certain, because it
    continues a settled person or an operator has decided it, and 0 elsewhere.  before: track -> the track it
    continues.
    """

    chain_of: list[int]
    settled: list[int]
    before: dict[int, int]

    @classmethod
    def of(cls, tracks: list[Track], tails: list[TrackedPerson], previous: list[int]) -> Chains:
        """previous: row of each track's predecessor among T tails, then the tracks; -1 for none."""
        chains = cls([], [], {})
        for column, row in enumerate(previous):
            if row >= len(tails):
                chain = chains.chain_of[row - len(tails)]
                chains.before[tracks[column].track_id] = tracks[row - len(tails)].track_id
            else:
                chain = len(chains.settled)
                chains.settled.append(tracks[column].pinned)
                if row >= 0:
                    tail = tails[row].tail
                    assert tail is not None
                    chains.settled[chain] = tails[row].identity
                    chains.before[tracks[column].track_id] = tail.track_id
            chains.chain_of.append(chain)
            chains.settled[chain] = chains.settled[chain] or tracks[column].pinned
        return chains


def elect(tracks: list[Track], chains: Chains, register: Register) -> list[int]:
    """An identity for each chain: the one that is settled, else the one most of it has had, else new."""
    identity = list(chains.settled)
    taken = {each for each in identity if each}
    votes: dict[tuple[int, int], float] = {}
    for track, chain in zip(tracks, chains.chain_of, strict=True):
        if track.identity and not chains.settled[chain]:
            key = (chain, track.identity)
            votes[key] = votes.get(key, 0.0) + (track.last_ns - track.first_ns) * 1e-9 + 1e-3
    for (chain, old), _ in sorted(
        votes.items(), key=lambda item: (not register.people[item[0][1]].kept, -item[1], item[0])
    ):
        if not identity[chain] and old not in taken and register.people[old].tail is None:
            identity[chain] = old
            taken.add(old)
    return [each or register.newcomer() for each in identity]
