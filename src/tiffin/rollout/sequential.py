"""Tests of shares that stay valid however often they are looked at. Pure.

A stream of ``calls`` of which ``hits`` had a property (failed, were quick, agreed) is taken as coin tosses with an
unknown chance ``p``. The ratio between the probability of what was seen, averaged over all chances by a
Beta(1/2, 1/2), and its probability under one ``p``,

    M(p) = B(hits + 1/2, calls - hits + 1/2) / B(1/2, 1/2) / (p^hits (1-p)^(calls-hits)),

is a martingale that starts at 1 when ``p`` is the true chance. By Ville's inequality it ever reaches ``1/alpha``
with a probability of at most ``alpha``, at whatever moments it is looked at: so the ``p`` with ``M(p) < 1/alpha``
are a confidence interval that holds at all times at once, and a hypothesis all of whose ``p`` have
``M(p) >= 1/alpha`` may be rejected at any moment. Streams multiply: the product of their ``M`` is one as well.

Literature: J. Ville, Etude critique de la notion de collectif (1939). H. Robbins, Statistical methods related to
the law of the iterated logarithm (Ann. Math. Statist. 41, 1970). R. Johari, P. Koomen, L. Pekelis, D. Walsh,
Always valid inference: continuous monitoring of A/B tests (Operations Research 70, 2022; arXiv:1512.04922).
S. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences
(Ann. Statist. 49, 2021). S. Howard, A. Ramdas, Sequential estimation of quantiles with applications to A/B testing
and best-arm identification (Bernoulli 28, 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable

_ROUNDS = 40
_LOG_PI = math.log(math.pi)  # B(1/2, 1/2) is pi.


def log_mixture(calls: int, hits: int) -> float:
    """The logarithm of the averaged probability of one order of these hits and misses."""
    return math.lgamma(hits + 0.5) + math.lgamma(calls - hits + 0.5) - math.lgamma(calls + 1.0) - _LOG_PI


def log_likelihood(calls: int, hits: int, chance: float) -> float:
    """The logarithm of the probability of one order of these hits and misses, were ``chance`` the true one."""
    total = 0.0
    if hits:
        total += hits * math.log(chance) if chance > 0.0 else -math.inf
    if calls - hits:
        total += (calls - hits) * math.log1p(-chance) if chance < 1.0 else -math.inf
    return total


def rejects(calls: int, hits: int, chance: float, alpha: float) -> bool:
    """Whether ``chance`` is outside of the interval; with probability ``1 - alpha`` never so for the true one."""
    return log_likelihood(calls, hits, chance) <= log_mixture(calls, hits) + math.log(alpha)


def interval(calls: int, hits: int, alpha: float) -> tuple[float, float]:
    """The chances that are not rejected: with probability ``1 - alpha`` the true one is in it, always."""
    if calls <= 0:
        return 0.0, 1.0
    middle = hits / calls

    def is_rejected(chance: float) -> bool:
        return rejects(calls, hits, chance, alpha)

    low = 0.0 if not is_rejected(0.0) else _edge(0.0, middle, is_rejected)
    high = 1.0 if not is_rejected(1.0) else _edge(1.0, middle, is_rejected)
    return low, high


def _edge(rejected: float, kept: float, is_rejected: Callable[[float], bool]) -> float:
    """Where rejecting begins between the two; on the rejected side, so that the interval is never too small."""
    for _ in range(_ROUNDS):
        half = (rejected + kept) / 2
        if is_rejected(half):
            rejected = half
        else:
            kept = half
    return rejected


def log_evidence_of_less(calls: int, hits: int, least: float) -> float:
    """Log of the evidence against "the chance is ``least`` or more"; reject at ``log(1/alpha)``."""
    if calls <= 0 or hits >= least * calls:
        return 0.0
    return log_mixture(calls, hits) - log_likelihood(calls, hits, least)


def log_evidence_of_more(first: tuple[int, int], second: tuple[int, int], margin: float) -> float:
    """Log of the evidence against "the chance of ``first`` is at most that of ``second`` plus ``margin``".

    Streams are ``(calls, hits)``. The product of the two martingales, at the pair of chances within the
    hypothesis that it speaks against least; reject at ``log(1/alpha)``.
    """
    (n, hits), (m, others) = first, second
    if n <= 0 or margin >= 1.0:
        return 0.0
    if m > 0 and hits * m <= (others + margin * m) * n:
        return 0.0  # What was seen is within the hypothesis.

    def likelihood(chance: float) -> float:
        return log_likelihood(n, hits, chance + margin) + log_likelihood(m, others, chance)

    return log_mixture(n, hits) + log_mixture(m, others) - _greatest(likelihood, 0.0, 1.0 - margin)


def _greatest(concave: Callable[[float], float], low: float, high: float) -> float:
    """The greatest value of a concave function, by golden section; the ends count as well."""
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    best = max(concave(low), concave(high))
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = concave(left), concave(right)
    for _ in range(_ROUNDS):
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = concave(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = concave(right)
    return max(best, at_left, at_right)
