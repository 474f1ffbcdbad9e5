"""Steps: what the last few frames say about those to come."""

import pytest

from relay.web.hls.step import PART_MS, Steps


def test_before_the_first_step_a_part_is_as_long_as_it_should_be() -> None:
    steps = Steps()
    assert steps.mean_ms == 0
    assert steps.part_ms == PART_MS


@pytest.mark.parametrize(("fps", "part_ms"), [(30, 400), (25, 400), (24, 375), (10, 400), (2, 500)])
def test_a_part_is_as_many_frames_as_fit(fps: int, part_ms: float) -> None:
    steps = Steps()
    for number in range(60):
        steps.note(round((number + 1) * 1000 / fps) - round(number * 1000 / fps))
    assert steps.mean_ms == pytest.approx(1000 / fps, abs=0.7)
    assert steps.part_ms == pytest.approx(part_ms, abs=9)


def test_one_frame_out_of_the_way_changes_nothing() -> None:
    steps = Steps()
    for _ in range(30):
        steps.note(40)
    steps.note(900)
    assert steps.mean_ms == 40
