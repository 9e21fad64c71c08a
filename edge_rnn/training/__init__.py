"""Training of recurrent modules: truncated backpropagation through time, early stopping, and the run it leaves.

Everything here works on any module with ``forward(x, state) -> (y, state)`` whose state is a dict
of tensors; ``edge_rnn.models`` builds such modules.
"""

from edge_rnn.training.data import Prompt, Sequences
from edge_rnn.training.early import EarlyStopping
from edge_rnn.training.history import History
from edge_rnn.training.loop import evaluate, fit
from edge_rnn.training.optimisers import OPTIMISERS, make_optimiser
from edge_rnn.training.penalties import penalty
from edge_rnn.training.progress import Progress, Silent, progress_for
from edge_rnn.training.run import write_run
from edge_rnn.training.seeding import deterministic
from edge_rnn.training.settings import Settings
from edge_rnn.training.truncated import Chunk, chunks

__all__ = [
    "OPTIMISERS",
    "Chunk",
    "EarlyStopping",
    "History",
    "Progress",
    "Prompt",
    "Sequences",
    "Settings",
    "Silent",
    "chunks",
    "deterministic",
    "evaluate",
    "fit",
    "make_optimiser",
    "penalty",
    "progress_for",
    "write_run",
]
