"""Messages, service and client of keras-tuner's chief: private names of keras-tuner, imported only here."""

from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient

__all__ = ["OracleClient", "OracleServicer", "protos"]
