import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.quality import CODECS, Codec, mos, score

EVERY_CODEC: list[Codec] = ["PCMU", "PCMA", "G722", "OPUS"]


@pytest.mark.parametrize("codec", EVERY_CODEC)
def test_nothing_lost_and_nothing_late_is_the_best_there_is(codec: Codec) -> None:
    assert mos(codec, 0.0, 0.0) == pytest.approx(4.409, abs=0.001)


@pytest.mark.parametrize(("rating", "expected"), [(90, 4.339), (80, 4.024), (70, 3.597), (60, 3.1), (50, 2.575)])
def test_the_score_of_a_rating_as_annex_b_has_it(rating: float, expected: float) -> None:
    assert score(rating) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(("rating", "expected"), [(-20, 1.0), (0, 1.0), (3, 1.0), (100, 4.5), (120, 4.5)])
def test_the_scale_has_two_ends(rating: float, expected: float) -> None:
    assert score(rating) == expected


@pytest.mark.parametrize(
    ("one_way_ms", "rating"), [(100, 93.2), (200, 90.1556), (300, 78.4393), (400, 69.1299), (1000, 49.4104)]
)
def test_delay_costs_as_in_g_107(one_way_ms: float, rating: float) -> None:
    # 200 ms: one doubling, so 25 * (2^(1/6) - 3 * (1 + 3^-6)^(1/6) + 2) = 3.0444.
    assert mos("PCMU", 0.0, one_way_ms) == pytest.approx(score(rating), abs=0.001)


@pytest.mark.parametrize(("loss", "rating"), [(0.01, 89.5602), (0.05, 77.4193), (0.251, 45.7)])
def test_loss_costs_as_in_g_107(loss: float, rating: float) -> None:
    # 25.1 %: as much as the robustness of the codec, so half of 95.
    assert mos("PCMA", loss, 0.0) == pytest.approx(score(rating), abs=0.001)


def test_loss_in_bursts_costs_more() -> None:
    assert mos("PCMU", 0.05, 0.0, 2.0) == pytest.approx(score(93.2 - 95 * 5 / (2.5 + 25.1)), abs=0.0001)
    assert mos("PCMU", 0.05, 0.0, 2.0) < mos("PCMU", 0.05, 0.0)


def test_a_ratio_beyond_0_and_1_is_taken_as_that() -> None:
    assert mos("PCMU", -0.5, 0.0) == mos("PCMU", 0.0, 0.0)
    assert mos("PCMU", 7.0, 0.0) == mos("PCMU", 1.0, 0.0)


@given(
    st.sampled_from(EVERY_CODEC),
    st.floats(0, 1),
    st.floats(0, 1e12),
    st.floats(0, 0.2),
    st.floats(0, 500),
)
def test_more_loss_or_delay_never_sounds_better(
    codec: Codec, loss: float, delay: float, worse: float, later: float
) -> None:
    here = mos(codec, loss, delay)
    assert 1.0 <= mos(codec, loss + worse, delay + later) <= here + 1e-9 <= 4.5


def test_every_codec_has_values() -> None:
    assert sorted(CODECS) == sorted(EVERY_CODEC)
