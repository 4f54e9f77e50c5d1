"""Boxes of the recent past, corrected with what was seen afterwards."""

from __future__ import annotations

import math

from services.tracker.compiled import compiled
from services.tracker.kalman import VARIANCE, VELOCITY, Float64
from services.tracker.leaves import Int64
from services.tracker.parameters import Parameters


@compiled
def smooth(states: Float64, begins: Int64, dt_s: Float64, affines: Float64, p: Parameters) -> None:
    """Rauch-Tung-Striebel smoothing of the means, in place.

    states: (G, N, 20 or more) filter rows of N tracks after each of G frames.  begins: (N,) the first
    frame of each.  dt_s: (G,) seconds since the frame before, affines: (G, 2, 3) the camera's motion
    since then, as they were predicted with.
    """
    frames, tracks = states.shape[0], states.shape[1]
    tau = p.persistence_s
    for g in range(frames - 2, -1, -1):
        keep = math.exp(-dt_s[g + 1] / tau)
        reach = tau * (1.0 - keep)
        q_vv = 1.0 - keep * keep
        q_pv = tau * (1.0 - keep) ** 2
        q_pp = 2.0 * tau * (dt_s[g + 1] - 2.0 * reach + tau / 2.0 * q_vv)
        a, b, c, d = affines[g + 1, 0, 0], affines[g + 1, 0, 1], affines[g + 1, 1, 0], affines[g + 1, 1, 1]
        determinant = a * d - b * c
        if abs(determinant) < 1e-9:
            continue
        scale = math.sqrt(abs(determinant))
        for n in range(tracks):
            if g < begins[n]:
                continue
            row, after = states[g, n], states[g + 1, n]
            height = max(row[3], 4.0)
            # What was expected of the next frame in this one's pixels, and what came instead.
            x, y = after[0] - affines[g + 1, 0, 2], after[1] - affines[g + 1, 1, 2]
            vx, vy = after[VELOCITY], after[VELOCITY + 1]
            place_x, place_y = (d * x - b * y) / determinant, (a * y - c * x) / determinant
            speed_x, speed_y = (d * vx - b * vy) / determinant, (a * vy - c * vx) / determinant
            for axis in range(4):
                spread = p.speed if axis < 2 else p.growth
                power = (spread * height) ** 2
                jolt = (p.jolt * height) ** 2 * dt_s[g + 1] if axis < 2 else 0.0
                k = VARIANCE + 3 * axis
                pp, pv, vv = row[k], row[k + 1], row[k + 2]
                s_pp = pp + 2.0 * reach * pv + reach * reach * vv + power * q_pp + jolt
                s_pv = keep * (pv + reach * vv) + power * q_pv
                s_vv = keep * keep * vv + power * q_vv
                if axis == 0:
                    place, speed = place_x, speed_x
                elif axis == 1:
                    place, speed = place_y, speed_y
                else:
                    place, speed = after[axis] / scale, after[VELOCITY + axis] / scale
                e_p = place - (row[axis] + reach * row[VELOCITY + axis])
                e_v = speed - keep * row[VELOCITY + axis]
                # Covariance with the next frame's state, over the next frame's own.
                c_pp, c_pv = pp + reach * pv, keep * pv
                c_vp, c_vv = pv + reach * vv, keep * vv
                over = s_pp * s_vv - s_pv * s_pv
                if over <= 0.0:
                    continue
                w_p = (s_vv * e_p - s_pv * e_v) / over
                w_v = (s_pp * e_v - s_pv * e_p) / over
                row[axis] += c_pp * w_p + c_pv * w_v
                row[VELOCITY + axis] += c_vp * w_p + c_vv * w_v
            row[2] = max(row[2], 1.0)
            row[3] = max(row[3], 1.0)
