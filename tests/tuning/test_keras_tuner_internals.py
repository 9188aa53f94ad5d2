"""What keras-tuner does not publish is where this package expects it; fails when a version moves it."""

import keras_tuner
import pytest
from keras_tuner.engine import base_tuner

from jasper_tf.tuning.keras_tuner_internals import OracleClient, OracleServicer, protos


def test_the_messages_of_the_chief():
    for method in ("CreateTrial", "UpdateTrial", "EndTrial", "GetSpace"):
        assert hasattr(OracleServicer, method)
        assert hasattr(protos.get_service(), f"{method}Request")
    assert hasattr(protos.get_service_grpc(), "OracleStub")
    assert hasattr(protos.get_service_grpc(), "add_OracleServicer_to_server")
    assert issubclass(OracleServicer, protos.get_service_grpc().OracleServicer)
    for method in ("create_trial", "update_trial", "end_trial", "update_space"):
        assert hasattr(OracleClient, method)


@pytest.mark.parametrize(
    ("oracle", "hooks"),
    [
        (keras_tuner.Oracle, ("_get_oracle_fname", "_get_trial_dir", "_save_trial", "_duplicate")),
        (keras_tuner.oracles.BayesianOptimizationOracle, ("_random_populate_space",)),
        (keras_tuner.oracles.HyperbandOracle, ("_get_num_brackets", "_get_num_rounds", "_get_size", "_get_epochs")),
        (base_tuner.BaseTuner, ("_get_tuner_fname",)),
    ],
)
def test_the_hooks_of_its_classes(oracle, hooks):
    for hook in hooks:
        assert callable(getattr(oracle, hook))


def test_the_state_of_an_oracle():
    oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("val_wer", "min"), max_trials=1)
    assert oracle._retry_queue == [] and oracle.ongoing_trials == {} and oracle.tuner_ids == set()
