"""The messages, service and client of keras-tuner's chief, which it does not publish; only this file imports them."""

from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient

__all__ = ["OracleClient", "OracleServicer", "protos"]
