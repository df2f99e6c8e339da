"""Views in another process: the same rows of the same space."""

import pickle

import numpy as np

from predictors._views import views_of
from search_spaces.nasbench201 import NasBench201


def test_views_that_travelled_give_the_same_rows():
    space = NasBench201(width=8, depth=1)
    views = views_of(space)
    samples = space.sample_distinct(3, seed=0)
    before = views.matrix("runtime", samples)
    found = pickle.loads(pickle.dumps(views))
    np.testing.assert_array_equal(found.matrix("runtime", samples), before)
