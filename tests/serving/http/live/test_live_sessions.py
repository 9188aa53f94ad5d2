"""The bounded number of live streams."""

import pytest

from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.live.live_sessions import LiveSession, LiveSessions


class Live:
    delay_s, sample_rate = 1.0, 16000


def test_only_a_stream_that_starts_takes_the_place_of_one_whose_client_is_away():
    sessions = LiveSessions(2, keep_s=60)
    first, second, third, fourth = (LiveSession(Live()) for _ in range(4))
    for session in (first, second):
        session.connection = object()
        sessions.add(session)
    with pytest.raises(ApiError) as error:
        sessions.require_room()
    assert error.value.code == "too_many_streams"
    sessions.leave(first, first.connection)
    sessions.require_room()
    assert sessions.get(first.session_id) is first
    third.connection = object()
    sessions.add(third)
    with pytest.raises(ApiError):
        sessions.get(first.session_id)
    assert len(sessions) == 2
    with pytest.raises(ApiError):
        sessions.add(fourth)
    assert sessions.get(second.session_id) is second


def test_a_stream_that_is_being_started_has_its_place():
    sessions = LiveSessions(2, keep_s=60)
    away = LiveSession(Live())
    sessions.add(away)
    with sessions.starting(), sessions.starting():  # in the place of the one whose client is away
        with pytest.raises(ApiError) as error, sessions.starting():
            pass
        assert error.value.code == "too_many_streams"
    with sessions.starting():
        pass
    assert sessions.get(away.session_id) is away  # none of them came about
