"""Every combination of options, spread over 1 to 4 ranks, gives what one process gives."""

import option_cases
import rank_work

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def test_every_combination_of_options_equals_one_process(pool):
    numbers = range(len(option_cases.cases()))
    for worst, count in pool.run(rank_work.worst_errors, numbers):
        assert count >= 750
        for dtype, (error, case) in worst.items():
            assert error <= TOLERANCE[dtype], (dtype, case)
