"""A short slice of `make test-kill`."""

import pytest

from kill import campaign


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forks beside threads
def test_data_and_a_search_killed_at_random_moments_end_as_if_unbroken(tmp_path, nyud_folder):
    tallies = campaign(tmp_path, {"data": 2, "search": 2}, seed=1, data=nyud_folder)
    assert {name: tally.kills for name, tally in tallies.items()} == {"data": 2, "search": 2}
    assert [fault for tally in tallies.values() for fault in tally.faults] == []
    assert all(tally.finished for tally in tallies.values())
