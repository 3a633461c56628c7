"""A small network for all tests of prediction; it is built and loaded once."""

from functools import cache
from itertools import count

import pytest
import torch

from atrc import sharing
from atrc.app.predict import predict
from atrc.app.predict.predictor import Predictor
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from predicting import NAMES, PREDICTED


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    config = NetworkConfig(backbone="timm:test_resnet", distillation="atrc")
    return build_network(config, PREDICTED, Genotype.uniform(NAMES, "global")).eval()


@pytest.fixture(scope="session")
def model(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    sharing.save(network, folder)
    return str(folder)


@pytest.fixture(autouse=True, scope="session")
def _load_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "load", cache(predict.load))
        yield


@pytest.fixture
def failing_at(monkeypatch):
    """Let the n-th call of the network fail."""

    def fail(number, error):
        whole, calls = Predictor.__call__, count(1)

        def call(self, images):
            if next(calls) == number:
                raise error
            return whole(self, images)

        monkeypatch.setattr(Predictor, "__call__", call)

    return fail
