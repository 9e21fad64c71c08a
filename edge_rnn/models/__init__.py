"""Recurrent models as ordinary modules: one cell or head a file, built by name, saved and loaded.

Layout ``x: float32[time, batch, feature]``; states are named, ``float32[1, batch, width]``.
"""

from edge_rnn.models.activation import Activation
from edge_rnn.models.bidirectional import Bidirectional
from edge_rnn.models.dropout import LockedDropout
from edge_rnn.models.elman import ElmanSigmoid
from edge_rnn.models.encoder_decoder import EncoderDecoder
from edge_rnn.models.jordan import JordanLayer
from edge_rnn.models.layers import state_kinds, state_width
from edge_rnn.models.log_mel import LogMel, LogMelArguments
from edge_rnn.models.registry import MODELS, ModelArguments, build
from edge_rnn.models.saving import ModelFile, load_run, read_model_file, save
from edge_rnn.models.scaler import Scaler
from edge_rnn.models.sequence import SequenceModel, State, Task, detach
from edge_rnn.models.watcher import Watcher

__all__ = [
    "MODELS",
    "Activation",
    "Bidirectional",
    "ElmanSigmoid",
    "EncoderDecoder",
    "JordanLayer",
    "LockedDropout",
    "LogMel",
    "LogMelArguments",
    "ModelArguments",
    "ModelFile",
    "Scaler",
    "SequenceModel",
    "State",
    "Task",
    "Watcher",
    "build",
    "detach",
    "load_run",
    "read_model_file",
    "save",
    "state_kinds",
    "state_width",
]
