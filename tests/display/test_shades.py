"""Shades and inks: readable on every level, in both themes, for both hues."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ecco_captum.display.colours import COLORS, LEVELS, contrast, ink, shade

HUES = ("accent", "cool")
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def linear(color: str) -> np.ndarray:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.clip(to_xyz @ rgb, 0.008856, None) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#123456", "#123456", 1.0)],
)
def test_contrast_is_that_of_wcag(first: str, second: str, ratio: float) -> None:
    assert contrast(first, second) == pytest.approx(ratio, abs=0.005)
    assert contrast(second, first) == contrast(first, second)


@pytest.mark.parametrize(("hue", "theme"), list(itertools.product(HUES, (0, 1))))
def test_ink_can_be_read_on_every_level(hue: str, theme: int) -> None:
    usual = COLORS["ink"][theme]
    for level in range(LEVELS + 1):
        background = shade(level, hue)[theme]
        assert contrast(background, ink(background, usual)) >= 4.5


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_and_lines_can_be_seen_on_their_grounds(theme: int) -> None:
    for ground in ("bg", "card"):
        for name in ("ink", "soft", "mark", "accent", "error"):
            assert contrast(COLORS[name][theme], COLORS[ground][theme]) >= 4.5
        assert contrast(COLORS["cool"][theme], COLORS[ground][theme]) >= 3


@pytest.mark.parametrize(("hue", "theme"), list(itertools.product(HUES, (0, 1))))
def test_a_higher_level_is_further_from_the_card(hue: str, theme: int) -> None:
    card = COLORS["card"][theme]
    distances = [contrast(shade(level, hue)[theme], card) for level in range(LEVELS + 1)]
    assert distances[0] == 1
    assert all(a < b for a, b in itertools.pairwise(distances))


@pytest.mark.parametrize(("kind", "theme"), list(itertools.product(BLINDNESS, (0, 1))))
def test_the_two_hues_differ_for_colour_blind_eyes(kind: str, theme: int) -> None:
    for level, distance in ((LEVELS // 3, 10), (LEVELS, 30)):
        seen = [
            lab(np.clip(BLINDNESS[kind] @ linear(shade(level, hue)[theme]), 0, 1)) for hue in HUES
        ]
        assert np.linalg.norm(seen[0] - seen[1]) > distance


def test_a_level_outside_of_the_ramp_is_refused() -> None:
    with pytest.raises(ValueError, match="level: got 33"):
        shade(LEVELS + 1)
