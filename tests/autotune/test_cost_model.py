import numpy as np
import pytest

from autotune.cost_model import CostModel, quality, rank_correlation


def table(n, seed):
    rng = np.random.default_rng(seed)
    features = rng.random((n, 4)).astype(np.float32)
    estimate = 1e-3 * (1 + features[:, 0])
    return features, estimate, estimate * np.exp(features[:, 1] * (features[:, 2] > 0.5))


def test_before_any_measurement_the_estimate_stands():
    features, estimate, _ = table(10, 0)
    assert np.array_equal(CostModel().predict(features, estimate), np.log(estimate))


def test_what_was_measured_corrects_the_estimate():
    model = CostModel()
    model.fit(*table(200, 1))
    features, estimate, seconds = table(200, 2)
    assert quality(np.log(estimate), seconds).rank_correlation < 0.8
    assert quality(model.predict(features, estimate), seconds).rank_correlation > 0.9


def test_the_same_data_and_seed_give_the_same_model():
    features, estimate, seconds = table(100, 3)
    models = [CostModel(seed=5) for _ in range(2)]
    for model in models:
        model.fit(features, estimate, seconds)
    assert np.array_equal(*(model.predict(features, estimate) for model in models))


def test_quality_by_hand():
    seconds = np.arange(20.0)
    assert quality(seconds, seconds).top_recall == 1
    assert quality(-seconds, seconds).rank_correlation == pytest.approx(-1)
    assert quality(np.array([1, 0, *range(2, 20)]), seconds).top_recall == 1
    assert quality(np.array([5, 0, *range(2, 20)]), seconds).top_recall == 0.5
    assert quality(seconds[:1], seconds[:1]) is None
    assert rank_correlation(np.array([1, 1, 2]), np.array([3, 3, 5])) == pytest.approx(1)
    assert rank_correlation(np.ones(3), np.arange(3)) == 0
